import ctypes
import os
import sys
from types import SimpleNamespace

import pytest

from nst_jax.cli import terminal


@pytest.mark.parametrize(
    ("cores", "plugin", "platforms", "kept"),
    [
        (2, False, "", True),
        (16, False, "", False),  # threads would wait for each other while they compile
        (2, True, "", False),  # a GPU's compiler too
        (2, True, "cpu", True),
        (2, True, "cuda", False),
    ],
)
def test_freed_memory_is_kept_on_few_cores_only(cores, plugin, platforms, kept, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=asked.__setitem__))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    if plugin:
        (tmp_path / "libtpu.py").touch()
    terminal.keep_freed()
    assert bool(asked) == kept

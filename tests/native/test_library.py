import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nst_jax.native import library


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that notes what it is called with, and does what it is told to."""
    path, calls = tmp_path / "compiler", tmp_path / "calls"

    def make(does):
        path.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{does}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return lambda: calls.read_text().splitlines() if calls.exists() else []

    monkeypatch.setenv("CXX", str(path))
    return make


WRITES = 'while [ "$1" != -o ]; do shift; done; echo made > "$2"'


def test_it_is_compiled_once_for_this_very_processor(cache, compiler):
    calls = compiler(WRITES)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: library.compiled(), range(4)))
    assert len({*found}) == 1
    assert found[0].read_text() == "made\n"
    assert [path.name for path in cache.iterdir()] == [found[0].name]
    (call,) = calls()
    assert "-march=native" in call.split()
    assert str(library.SOURCE) in call.split()


def test_a_compiler_in_other_words_is_understood(cache, compiler):
    calls = compiler(f'case "$*" in *march*) exit 1;; esac; {WRITES}')
    assert library.compiled().read_text() == "made\n"
    assert ["-march=native" in call.split() for call in calls()] == [True, False]


def test_one_that_fails_is_asked_again_a_day_later(cache, compiler):
    calls = compiler("echo no such thing >&2; exit 1")
    assert (library.compiled(), library.compiled()) == (None, None)
    assert len(calls()) == 2  # in both words, once
    (said,) = cache.iterdir()
    assert said.read_text() == "no such thing\n" * 2
    os.utime(said, (time.time() - 90_000,) * 2)
    assert library.compiled() is None
    assert len(calls()) == 4


def test_another_compiler_makes_another_file(cache, compiler):
    compiler(WRITES)
    first = library.compiled()
    compiler(WRITES + "; true")
    assert library.compiled() != first


def test_without_a_compiler_there_is_none(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert library.compiled() is None
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_no_error(compiler, monkeypatch, tmp_path):
    compiler(WRITES)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path / "file"))
    assert library.compiled() is None


def test_what_an_ended_process_was_at_is_removed_a_day_later(cache, compiler):
    compiler(WRITES)
    for name in ("half-old", "half-new"):
        (cache / name).mkdir(parents=True)
    os.utime(cache / "half-old", (time.time() - 90_000,) * 2)
    found = library.compiled()
    assert sorted(path.name for path in cache.iterdir()) == sorted([found.name, "half-new"])

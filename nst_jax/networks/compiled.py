"""``winograd.cc``, compiled on this machine for its very processor, and kept in the cache folder.

It takes some seconds, once, and the C++ compiler that is there: ``$CXX``, c++, g++ or clang++. There is no
JAX in here, so that it can be compiled while that is imported.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from nst_jax.files import cache_folder

SOURCE = Path(__file__).with_name("winograd.cc")

_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_OWN = ("-march=native", "-mcpu=native")
"""For this very processor, in the words of compilers for x86 and for ARM."""

_PATIENCE = 120.0
"""Seconds that a compiler may take."""

_AGAIN = 86400.0
"""Seconds after which a compiler that failed is asked again: it may have been for want of memory."""


def begin() -> None:
    """Compile it beside other work, for processes that will ask for it."""
    threading.Thread(target=library, name="native", daemon=True).start()


_building = threading.Lock()


def library() -> Path | None:
    """Return the file that it is compiled to, and compile it if it is not there; None if that cannot be."""
    compiler = _compiler()
    if compiler is None:
        return None
    with _building:
        folder = cache_folder() / "native"
        path = folder / f"{_key(compiler)}.so"
        refused = path.with_suffix(".txt")
        if path.exists() or _is_fresh(refused):
            return path if path.exists() else None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as inside:
                made = Path(inside) / path.name
                said = _compile(compiler, made)
                if made.exists():
                    made.replace(path)  # others may do the same at this moment
                    return path
                refused.write_text(said)
        except (OSError, subprocess.SubprocessError):
            pass
    return None


def _is_fresh(refused: Path) -> bool:
    try:
        return time.time() - refused.stat().st_mtime < _AGAIN
    except OSError:
        return False


def _compiler() -> str | None:
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next(filter(None, map(shutil.which, filter(None, names))), None)


def _compile(compiler: str, to: Path) -> str:
    """Try to compile it, and return what the compiler says."""
    spec = find_spec("jaxlib")
    assert spec is not None
    assert spec.origin is not None
    include = Path(spec.origin).parent / "include"
    said = ""
    for own in _OWN:
        words = [compiler, *_FLAGS, own, "-isystem", str(include), str(SOURCE), "-o", str(to)]
        done = subprocess.run(  # in a session of its own: Ctrl-C is not for it
            words, capture_output=True, text=True, timeout=_PATIENCE, check=False, start_new_session=True
        )
        said += done.stdout + done.stderr
        if done.returncode == 0:
            break
    return said


def _key(compiler: str) -> str:
    """Return what tells compiled files apart: processors as well, for machines may share the folder."""
    whole = Path(compiler).resolve()
    parts = (
        SOURCE.read_bytes(),
        repr((_FLAGS, _OWN, version("jaxlib"), str(whole), whole.stat().st_mtime_ns)).encode(),
        repr((sys.platform, platform.machine(), platform.processor())).encode(),
        _features(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def _features() -> bytes:
    """Return what Linux says that the processor can do."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return b""
    return next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")

"""The operations in C++, compiled on this machine for its very processor, and kept in the cache folder.

That takes some seconds, once, and the C++ compiler that is there: ``$CXX``, c++, g++ or clang++. JAX is
imported late, so that they can be compiled meanwhile.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from nst_jax.files import cache_folder

SOURCE = Path(__file__).with_name("operations.cc")

FUNCTIONS = {
    "nst_jax_convolve": "NstJaxConvolve",
    "nst_jax_gram": "NstJaxGram",
}
"""What JAX calls the operations, and C++."""


_FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_OWN = ("-march=native", "-mcpu=native")
"""For this very processor, in the words of compilers for x86 and for ARM."""

_PATIENCE = 120.0
"""Seconds that a compiler may take."""

_AGAIN = 86400.0
"""Seconds after which a compiler that failed is asked again: it may have been for want of memory."""

_HALF = "half-"
"""So begin the names of folders in which there is one at work."""


_once = threading.Lock()
_found: list[bool] = []
"""Whether the operations are there, once that is known."""
_halves: list[bool] = []
"""Whether they take kernels as halves, if they are there."""


def is_there() -> bool:
    """Tell whether this machine has the operations; the first to ask compiles them."""
    import jax

    with _once:
        if not _found:
            _found.append(jax.default_backend() == "cpu" and _load())
    return _found[0]


def takes_halves() -> bool:
    """Tell whether they are there, and this processor has matrix units; see halves.h."""
    return is_there() and _halves[0]


def _load() -> bool:
    import jax

    path = compiled()
    if path is None:
        return False
    try:
        library = ctypes.CDLL(str(path))
        handlers = {name: getattr(library, function) for name, function in FUNCTIONS.items()}
        asked = library.NstJaxTakesHalves
    except (OSError, AttributeError):  # a folder from which nothing may be run, another C library, ...
        return False
    for name, handler in handlers.items():
        capsule = jax.ffi.pycapsule(handler)  # type: ignore[no-untyped-call]
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    asked.restype = ctypes.c_bool
    _halves[:] = [asked()]
    return True


def begin() -> None:
    """Compile them beside other work, for processes that will ask for them."""
    if not _found:
        threading.Thread(target=compiled, name="native", daemon=True).start()


_building = threading.Lock()


def compiled() -> Path | None:
    """Return the file that they are compiled to, which is made if need be; None if that cannot be."""
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
            for half in folder.glob(f"{_HALF}*"):  # of processes that ended meanwhile
                if not _is_fresh(half):
                    shutil.rmtree(half, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=_HALF, dir=folder) as inside:
                made = Path(inside) / path.name
                said = _compile(compiler, made)
                if made.exists():
                    made.replace(path)  # others may do the same at this moment
                    return path
                refused.write_text(said)
        except (OSError, subprocess.SubprocessError):
            pass
    return None


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _AGAIN
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
    from importlib.metadata import version

    whole = Path(compiler).resolve()
    parts = (
        *(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[hc]*"))),
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

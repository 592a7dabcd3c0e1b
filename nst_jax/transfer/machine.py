"""How much memory there is, and how much a compiled program takes. There is no JAX in here."""

import contextlib
import ctypes
import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from nst_jax.errors import OutputError
from nst_jax.files import cache_folder, check_folder

SHARE = 0.8
"""How much of the free memory is used: the rest is for what no estimate knows of."""

LIMITED = 0.95
"""How much of a limit is: it is as far as measured peaks were above their estimates."""

PROGRAMS_BYTES = 2**30
"""Of compiled programs on disk at most: those that were not used for longest make room."""

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("", "max", "current", "inactive_file"),  # version 2
    ("memory", "limit_in_bytes", "usage_in_bytes", "total_inactive_file"),  # version 1
)


def usable(devices: Sequence[Any], limit: int | None = None) -> int:
    """Return the bytes that may yet be used on each of some JAX devices: `SHARE` of what is free now.

    With a limit, no more than what is left of `LIMITED` of it: of the memory of this process on a CPU, of
    each device's otherwise.
    """
    free = []
    for device in devices:
        stats = device.memory_stats() if device.platform != "cpu" else None
        if stats and "bytes_limit" in stats:
            free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
        else:  # host memory, which the devices share
            free.append(_host() // len(devices))
    usable = int(SHARE * min(free))
    return usable if limit is None else max(0, min(usable, limit - reserve(limit) - held(devices[0])))


def reserve(limit: int) -> int:
    """Return the bytes of a limit that are not planned with, if there is a choice."""
    return int((1 - LIMITED) * limit)


def held(device: Any) -> int:
    """Return the bytes that are taken already: of a JAX device, or on a CPU by this process."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    return int(stats["bytes_in_use"] if stats else psutil.Process().memory_info().rss)


def keep_programs() -> str:
    """Have JAX, once it is imported, keep compiled programs on disk; return why it cannot, or nothing."""
    trouble = ""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache_folder() / "programs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_folder(folder / "program")
            _date(folder)
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
            os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(PROGRAMS_BYTES))
        except (OSError, OutputError):
            trouble = f"{folder} cannot be written to, so nothing is kept there; $NST_JAX_CACHE names another"
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's errors, not how it times kernels on a GPU
    # A kept program that is damaged, or cannot be kept for want of space, is compiled anew: no news to users.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    return trouble


def _date(folder: Path) -> None:
    """Note when programs were last used of which there is no note.

    They are of a version that had no bound, or of a process that was killed; with one such JAX keeps no more.
    """
    names = set(os.listdir(folder))
    keys = {name.removesuffix("-cache") for name in names if name.endswith("-cache")}
    for key in keys - {name.removesuffix("-atime") for name in names if name.endswith("-atime")}:
        with contextlib.suppress(OSError):  # another process makes room
            last = (folder / f"{key}-cache").stat().st_mtime_ns
            (folder / f"{key}-atime").write_bytes(last.to_bytes(8, "little"))


def accelerated() -> bool:
    """Tell whether JAX will look for a GPU or TPU, without importing it."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return platforms != "cpu" and any(find_spec(plugin) for plugin in ("jax_plugins", "libtpu"))


def give_back() -> None:
    """Have the C library give back what is free: after a compilation, or targets, some hundred megabytes."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def taken(compiled: Any) -> tuple[int, int]:
    """Return the bytes that a compiled program takes on each device: its arguments, and the rest."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # a back end that does not tell
        return 0, 0
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes + max(0, outputs)


def _host() -> int:
    free: int = psutil.virtual_memory().available
    for folder, limit, current, files in _LIMITS:
        try:  # a container may have less than its machine; what it holds of files can be let go
            inside = _CGROUP / folder
            most, used = (int((inside / f"memory.{name}").read_text()) for name in (limit, current))
            lines = (inside / "memory.stat").read_text().splitlines()
            held = next(int(line.split()[1]) for line in lines if line.startswith(f"{files} "))
            free = min(free, most - used + held)
        except (OSError, ValueError, StopIteration):  # no such container, or no limit
            pass
    return max(0, free)

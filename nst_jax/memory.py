"""How much memory there is, and how much a compiled program takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

SHARE = 0.8
"""How much of the free memory is used: the rest is for what no estimate knows of."""

_CGROUP = Path("/sys/fs/cgroup")


def usable(devices: Sequence[Any]) -> int:
    """Return the bytes that may be used on each of some JAX devices: `SHARE` of what is free now."""
    free = []
    for device in devices:
        stats = device.memory_stats() if device.platform != "cpu" else None
        if stats and "bytes_limit" in stats:
            free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
        else:  # host memory, which the devices share
            free.append(_host() // len(devices))
    return int(SHARE * min(free))


def taken(compiled: Any) -> tuple[int, int]:
    """Return the bytes that a compiled program takes on each device: its arguments, and the rest."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # a back end that does not tell
        return 0, 0
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes + max(0, outputs)


def _host() -> int:
    free: int = psutil.virtual_memory().available
    try:  # a container may have less than its machine; what it holds of files can be let go
        limit, current = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        lines = (_CGROUP / "memory.stat").read_text().splitlines()
        files = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        free = min(free, int(limit) - int(current) + files)
    except (OSError, ValueError, StopIteration):  # no such container, or no limit
        pass
    return max(0, free)

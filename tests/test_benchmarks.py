"""The benchmarks that need no time on a device run as the pages say, but small."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,))
"""Channels of its layers down to conv5_1, by block."""


def compiled(*options):
    """Return what devices.py prints, by program and column."""
    command = [sys.executable, str(BENCHMARKS / "devices.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    columns, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    named = (dict(zip(columns, row, strict=True)) for row in rows)
    return dict(zip(("single", "batch", "rows"), named, strict=True))


def collectives(row):
    counts = [each.split() for each in row["collectives"].split(", ") if each != "none"]
    return {kind: int(number) for number, kind in counts}


def multiplications(size):
    """Return those of the loss: nine for each position, channel in and channel out of each layer."""
    before, found = 3, 0
    for block, layers in enumerate(VGG19):
        for channels in layers:
            found += 9 * (size >> block) ** 2 * before * channels
            before = channels
    return found


def test_devices_compiles_for_two_that_are_one_cpu():
    """A batch needs no other device, rows their neighbours; XLA finds the arithmetic that the network has."""
    found = compiled("--for", "cpu", "--size", "64", "--chips", "2", "--batch", "4")
    assert collectives(found["single"]) == collectives(found["batch"]) == {}
    assert collectives(found["rows"]).keys() == {"all-reduce", "collective-permute"}
    # Loss and gradient have as many each, of a multiplication and an addition; the rest is little beside it.
    expected = 4 * multiplications(64)
    for name, share in {"single": 1, "batch": 4 / 2, "rows": 1 / 2}.items():
        for column in ("operations, 1e9 a chip", "operations by XLA"):
            assert 1e9 * float(found[name][column]) == pytest.approx(expected * share, rel=0.25), (
                name,
                column,
            )
    rest = {name: float(row["rest, MiB a chip"]) for name, row in found.items()}
    assert rest["rows"] < rest["single"] < rest["batch"]

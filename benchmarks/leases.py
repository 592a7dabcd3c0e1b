"""What `--shard auto` gains over `--shard i/n` where one of the workers is slower.

python benchmarks/leases.py [--workers 4] [--slower 4] [--cells 24] [--seconds 2]
    Paints a sweep by so many processes, of which one is so many times slower, first divided beforehand, then
    shared by leases. Prints the seconds from when all have begun to when the last has ended, the cells that
    each has painted, and the ratio of the times, as JSON.

The processes are those of the command, but for the solver: a cell takes so many seconds of sleep. So what is
measured is who paints what and what the leases cost, not how many pictures a machine can paint at once, and
two cores do for many workers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

WORKER = """
import json, sys, time
from pathlib import Path
import numpy as np
from nst_jax import config
from nst_jax.cli.process import prepare_process
prepare_process()
from nst_jax.runs import sweep
from nst_jax.transfer import loop
from nst_jax.transfer.looks import Result

number, workers, seconds, shard, folder = json.loads(sys.argv[1])
folder, painted, begun = Path(folder), [], []

def sleep(batch, watch, *, checkpoint, **rest):
    if not painted:  # all begin at once
        (folder / f"{shard}.{number}").touch()
        while len(list(folder.glob(f"{shard}.*"))) < workers:
            time.sleep(0.02)
        begun.append(time.time())
    painted.append(number)
    time.sleep(seconds)
    checkpoint.notes = {"curves": [[] for _ in batch.problems]}
    return [
        Result(np.zeros((*problem.size, 3), np.float32), 1.0, {}, 2.0, 1, "finished", seconds)
        for problem in batch.problems
    ]

loop.solve = sleep
settings = config.load(folder / "grid.yaml").with_values({"sweep.folder": str(folder / shard)})
part = "auto" if shard == "auto" else (number + 1, workers)
sweep.run(settings, shard=part, say=lambda line: None)
print(json.dumps([begun[0], time.time(), len(painted)]))
"""


def timed(options, shard, folder):
    """Return the seconds that a sweep takes, and the cells of each worker, the slower one last."""
    workers = []
    for number in range(options.workers):
        is_slow = number == options.workers - 1
        seconds = options.seconds * (options.slower if is_slow else 1)
        given = json.dumps([number, options.workers, seconds, shard, str(folder)])
        command = [sys.executable, "-c", WORKER, given]
        workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    found = [json.loads(worker.communicate()[0]) for worker in workers]
    begun, ended, painted = zip(*found, strict=True)
    assert sum(painted) == options.cells, "a cell was painted twice"
    return {"seconds": round(max(ended) - max(begun), 2), "cells": painted}


def main():
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--slower", type=float, default=4.0)
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "grid.yaml").write_text(
            "content: {image: sample:coffee, layers: [conv1_2]}\n"
            "style: {image: sample:starry_swirls, layers: [conv1_1]}\n"
            "size: 32\nweights: compact\npyramid: {levels: 1}\nsolver: {evaluations: 1}\n"
            "sweep:\n  max_parallel: 1\n"
            f"  axes: {{style.weight: {{logspace: [1e2, 1e4, {options.cells}]}}}}\n"
        )
        divided, shared = timed(options, "divided", folder), timed(options, "auto", folder)
    print(json.dumps({"--shard i/n": divided, "--shard auto": shared}, indent=2))
    print(f"auto / (i/n): {shared['seconds'] / divided['seconds']:.2f}")


if __name__ == "__main__":
    main()

"""What it costs to paint a sweep through Ray on this machine, against the same sweep without it.

python benchmarks/ray_overhead.py [--size 192] [--cells 24] [--evaluations 60] [--rounds 2]
    A grid of style weights with the compact network, painted by one process and by a Ray cluster of this
    machine with as many cores, alternating, each in a new process, programs compiled before. Seconds until
    the first evaluation is seen, of painting from there on, and of the whole process; and the ratio of
    painting. The loss curves are compared as well. Prints JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """
import contextlib, json, sys, time
from nst_jax.cli.process import prepare_process
way, folder = sys.argv[1:]
begun, seen = time.perf_counter(), []

def watch(progress):
    if progress.evaluations:
        seen.append(time.perf_counter())

def timed(paint):
    def painting(problems, **options):
        try:
            return paint(problems, **options)
        finally:
            seen.append(time.perf_counter())
    return painting

with contextlib.ExitStack() as around:
    if way == "ray":
        from nst_jax.runs.ray import cluster
        paint = around.enter_context(cluster("local"))
    else:
        from nst_jax.runs.painting import here as paint
    prepare_process()
    from nst_jax import config
    from nst_jax.runs import sweep
    settings = config.load("grid.yaml").with_values({"sweep.folder": folder})
    sweep.run(settings, paint=timed(paint), callback=watch, say=lambda line: None)
print(json.dumps({"start": seen[0] - begun, "painting": seen[-1] - seen[0]}))
"""


def main():
    """Print the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in {"size": 192, "cells": 24, "evaluations": 60, "rounds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    (folder / "grid.yaml").write_text(
        f"content: sample:coffee\nstyle: sample:starry_swirls\nsize: {options.size}\nweights: compact\n"
        f"solver: {{evaluations: {options.evaluations}}}\n"
        f"sweep: {{axes: {{style.weight: {{logspace: [1e2, 1e4, {options.cells}]}}}}}}\n"
    )

    def timed(way, name):
        begun = time.perf_counter()
        command = [sys.executable, "-c", SWEEP, way, name]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1]) | {"whole": time.perf_counter() - begun}
        print(way, {key: round(value, 2) for key, value in found.items()}, file=sys.stderr)
        return found

    timed("here", "warm")
    runs = {"here": [], "ray": []}
    for number in range(options.rounds):
        for way, found in runs.items():
            found.append(timed(way, f"{way}{number}"))
    middle = {
        way: {key: round(statistics.median(each[key] for each in found), 2) for key in found[0]}
        for way, found in runs.items()
    }
    cells = [path.name for path in (folder / "here0" / "cells").glob("*.json")]
    curves = [[json.loads((folder / way / "cells" / name).read_text())["curve"] for name in cells]
              for way in ("here0", "ray0")]  # fmt: skip
    found = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "cells": options.cells,
        "seconds": middle,
        "ray against here": round(middle["ray"]["painting"] / middle["here"]["painting"], 3),
        "same curves": curves[0] == curves[1],
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

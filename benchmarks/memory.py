"""Prints how much memory runs take, beside what the planner says: the whole process at its peak.

python benchmarks/memory.py --size 512
python benchmarks/memory.py --runs gram "small:style.kind=w2,memory_limit=1200MiB"
python benchmarks/memory.py --images DIR --sizes 512 1024 --limits none 2GiB

A run is NAME:key=value,key=value over the default settings; without any, each kind of style. With --sizes and
--limits, each size under each limit of memory, enlarged if need be. The plan is what --dry-run says.
Pictures are those of the papers in DIR, or samples. On Linux.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile

from nst_jax.settings import GUIDED_KINDS, STYLE_KINDS

UNITS = {"MiB": 1, "GiB": 1024}
PAIR = ("work:neckarfront", "work:starry_night")


def command(values, options, folder):
    """Return the command line of a run."""
    pair = ["--content", options.pair[0], "--style", options.pair[1]]
    sets = [word for value in values.split(",") if value for word in ("--set", value)]
    size = [] if "size=" in values else ["--size", str(options.size)]
    common = [*size, "--evaluations", str(options.evaluations)]
    images = ["--images", options.images] if options.images else []
    output = ["--output", os.path.join(folder, "out.png")]
    return [sys.executable, "-m", "nst_jax", *pair, *common, *images, *output, *sets]


def planned(words):
    """Return the MiB that the planner tells; None if it refuses, and says so."""
    told = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=False)
    found = re.findall(r"(?:together|before)\s+([\d.]+) (\w+)", told.stdout)
    if not found:
        print(told.stderr.strip())
        return None
    return max(float(number) * UNITS[unit] for number, unit in found)


def peak(words):
    """Return the MiB that a run takes at its peak."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(said)
    return usage.ru_maxrss / 1024


def limited(size, limit):
    """Return a run of a size under a limit of memory."""
    values = f"size={size},enlarge=true" + ("" if limit == "none" else f",memory_limit={limit}")
    return f"{size} pixels, {'no limit' if limit == 'none' else limit}:{values}"


def main():
    """Run each twice: planned, and in earnest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    unguided = [kind for kind in STYLE_KINDS if kind not in GUIDED_KINDS or kind == "nnst"]
    parser.add_argument("--runs", nargs="+", default=[f"{kind}:style.kind={kind}" for kind in unguided])
    parser.add_argument("--pair", nargs=2, default=PAIR, metavar=("CONTENT", "STYLE"))
    parser.add_argument("--images", help="folder of the papers' pictures")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--evaluations", type=int, default=6)
    parser.add_argument("--sizes", nargs="+", help="in place of --runs")
    parser.add_argument("--limits", nargs="+", default=["none"], help="such as 2GiB, or none")
    options = parser.parse_args()
    if options.sizes:
        options.runs = [limited(*each) for each in itertools.product(options.sizes, options.limits)]
    print("| run | planned, MiB | peak, MiB | peak / planned |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for run in options.runs:
            name, _, values = run.partition(":")
            words = command(values, options, folder)
            plan = planned(words)
            if plan is None:
                continue
            taken = peak(words)
            print(f"| {name} | {plan:.0f} | {taken:.0f} | {taken / plan:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""What a sweep gains over single runs, and a batch of cells over one cell.

python benchmarks/sweep_throughput.py processes [--size 128] [--cells 20] [--evaluations 50] [--rounds 2]
    A grid of style weights painted by one `nst-jax sweep`, by one process that runs the same configs one by
    one, and by a process for each. Alternating, each from its start to its end, programs compiled before.
python benchmarks/sweep_throughput.py batches [--size 256] [--cells 1,4,16] [--evaluations 60]
    Evaluations a second of so many cells, batched and on threads, after compilation, against single runs; how
    far the losses of four of the cells are from the runs alone; and the memory that the compiler states.

Uses VGG-19 where it can be had, else the compact network. Prints JSON, and writes it to --out FILE.json;
`batches --markdown FILE.json` prints the table of docs/benchmarks.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTENT, STYLE = "sample:coffee", "sample:starry_swirls"
ONE_PROCESS = """
import sys
from nst_jax import config
from nst_jax.cli.process import prepare_process
prepare_process()
from nst_jax.runs import single
for cell in config.cells(config.load(sys.argv[1])):
    settings = cell.config.with_values({"output.image": f"{sys.argv[2]}/{cell.index}.png"})
    single.run(settings, say=lambda line: None)
"""


def processes(options):
    """Return seconds of a grid in one sweep, of its configs in one process, and of one process for each."""
    cells = int(options.cells or 20)
    evaluations = options.evaluations or 50
    folder = Path(tempfile.mkdtemp())
    text = (
        f"content: {CONTENT}\nstyle: {STYLE}\nsize: {options.size or 128}\n"
        f"solver: {{evaluations: {evaluations}}}\n"
        f"sweep: {{axes: {{style.weight: {{logspace: [1e2, 1e4, {cells}]}}}}}}\n"
    )
    (folder / "grid.yaml").write_text(text)

    def timed(*commands):
        begun = time.perf_counter()
        for command in commands:
            subprocess.run([sys.executable, *map(str, command)], cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - begun

    program = ("-m", "nst_jax")
    single = (*program, "--content", CONTENT, "--style", STYLE, "--size", options.size or 128)
    weights = [1e2 * 100 ** (n / max(1, cells - 1)) for n in range(cells)]
    ways = {
        "sweep": lambda n: timed((*program, "sweep", "--config", "grid.yaml", "--output", f"sweep{n}")),
        "one after another": lambda n: timed(("-c", ONE_PROCESS, "grid.yaml", folder)),
        "a process each": lambda n: timed(
            *(
                (*single, "--evaluations", evaluations, "--style-weight", w, "--output", "o.png")
                for w in weights
            )
        ),
    }
    ways["sweep"]("warm")
    timed((*single, "--evaluations", 1))
    found = {name: [] for name in ways}
    for n in range(options.rounds):
        for name, way in ways.items():
            found[name].append(round(way(n), 2))
            print(name, found[name][-1], file=sys.stderr)
    middle = {name: statistics.median(seconds) for name, seconds in found.items()}
    return {
        "cells": cells,
        "evaluations": evaluations,
        "seconds": found,
        "throughput": {name: round(cells * evaluations / s, 2) for name, s in middle.items()},
        "sweep against": {name: round(s / middle["sweep"], 3) for name, s in middle.items()},
    }


def batches(options):
    """Return evaluations a second of batches and threads against single runs."""
    import jax
    import numpy as np

    from nst_jax import How, Settings, load_network, samples, stylize
    from nst_jax.transfer import batch, machine, memory, problem, program
    from nst_jax.transfer.pictures import Pictures, sized

    evaluations = options.evaluations or 60
    network = load_network("auto")
    settings = Settings().with_values(
        {
            "size": options.size or 256,
            "solver.evaluations": evaluations,
            "pyramid.levels": 1,
            "pyramid.variables": "pixels",
        }
    )
    names = (CONTENT, STYLE)
    pair = sized(Pictures(*(samples.load(name.removeprefix("sample:")) for name in names)), settings)

    def grid(weights):
        return {
            number: problem.posed(pair, settings.with_values({"style.weight": float(weight)}), network)
            for number, weight in enumerate(weights)
        }

    def rate(weights, mode):
        found, problems = {}, grid(weights)
        begun = time.perf_counter()
        batch.run(problems, done=lambda i, result, curve: found.__setitem__(i, result), how=How(mode=mode))
        return len(weights) * evaluations / (time.perf_counter() - begun), found

    def alone(weight):
        begun = time.perf_counter()
        result = stylize(pair.content, pair.style, settings, style_weight=float(weight), network=network)
        return evaluations / (time.perf_counter() - begun), result

    alone(1e3)
    table = {"device": jax.devices()[0].device_kind, "size": pair.content.shape[:2], "network": network.name}
    cpu = jax.devices()[0].platform == "cpu"
    for count in map(int, (options.cells or "1,4,16").split(",")):
        row = table[f"{count} cells"] = {}
        weights = np.geomspace(1e2, 1e4, count)
        first = grid(weights)[0]
        shapes, devices = memory.shapes_of(first), tuple(jax.local_devices()[:1])
        row["bytes"] = sum(machine.taken(program.compiled(first.program, shapes, count, devices)))
        for mode in ("vmap", "threads") if cpu else ("vmap",):
            rate(weights, mode)  # compiles
            runs = [(alone(1e3)[0], *rate(weights, mode)) for _ in range(options.rounds)]
            one, several = (statistics.median(r[i] for r in runs) for i in (0, 1))
            some = sorted({int(i) for i in np.linspace(0, count - 1, min(count, 4))})  # all would take long
            apart = [abs(runs[0][2][i].loss / alone(weights[i])[1].loss - 1) for i in some]
            row[mode] = {
                "evaluations/s": round(several, 2),
                "against one run": round(several / one, 3),
                "loss apart, median": round(statistics.median(apart), 5),
                "loss apart, most": round(max(apart), 5),
            }
            print(count, mode, row[mode], file=sys.stderr)
    return table


def markdown(table):
    """Return what `batches` found as a table."""
    found = [(name, row, way, row[way]) for name, row in table.items() if name.endswith(" cells")
             for way in ("vmap", "threads") if way in row]  # fmt: skip
    lines = [
        f"{table['device']}, {table['size'][1]} x {table['size'][0]} pixels, {table['network']}:\n",
        "| cells | evaluations a second | against one run after another | loss apart, median and most "
        "| memory by the compiler |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row, way, rate in found:
        apart = [f"{100 * rate[f'loss apart, {which}']:.1f} %" for which in ("median", "most")]
        cells = name.removesuffix(" cells") + (", on threads" if way == "threads" else "")
        lines.append(
            f"| {cells} | {rate['evaluations/s']:.4g} | {rate['against one run']:.2f} "
            f"| {', '.join(apart)} | {row['bytes'] / 2**30:.2f} GiB |"
        )
    return "\n".join(lines)


def main():
    """Print the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("processes", "batches"))
    parser.add_argument("--size", type=int)
    parser.add_argument("--cells")
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--markdown", type=Path, metavar="FILE.json", help="measures nothing")
    options = parser.parse_args()
    if options.markdown:
        print(markdown(json.loads(options.markdown.read_text())))
        return
    found = json.dumps({"processes": processes, "batches": batches}[options.what](options), indent=1)
    print(found)
    if options.out:
        options.out.write_text(found + "\n")


if __name__ == "__main__":
    main()

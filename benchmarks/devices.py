"""What a step takes on a TPU or GPU that is not there: compiled ahead of time for it, and never run.

python benchmarks/devices.py --for tpu --size 512              a TPU v5e; needs jax[tpu], but no TPU
python benchmarks/devices.py --for h100 --size 512             an H100; needs jax[cuda12] or [cuda13], no GPU
python benchmarks/devices.py --for cpu --size 64 --chips 2     devices that are one CPU: needs nothing
    [--programs single batch rows gradient] [--batch 16] [--chips 4] [--precision auto] [--text]

Compiled is what a run compiles (`program.lowered`): the step of one picture, of a batch of pictures that are
divided among the chips, and of one picture whose rows are; or loss and gradient alone, of one picture. The
network has VGG-19's shape and is random.

    bytes         on each chip, as the compiler says: arguments, and all else that exists during the step
    operations    of a chip: multiplications and additions of direct convolutions and Gram matrices,
                  counted from their shapes; "by XLA", what it counts in the compiled program
    traffic       bytes between a chip and its memory, the least there can be: arguments are read, results
                  that lie elsewhere written, all else both; "by XLA", what it counts, without any cache
    roofline      the longer of operations / peak and least traffic / bandwidth (`CHIPS`): what the chip can
                  do at best. It is a lower bound, not a measurement
    collectives   in the text of the compiled program, by kind

With --text a table of what else is in it (`compiled_text`), of a chip; loops count as often as they turn.
Not for a TPU, which has arrays elsewhere than in its memory:

    calls         of kernels and libraries
    convolutions  by where the channels are, and what is fused into them
    products      operations of convolutions and matrix products, by the type that is multiplied, and what
                  they take at the chip's peaks
    moved         bytes that calls read and write which only copy or transpose
    traffic       bytes that all calls read and write: each its operands and results, once
    by host       what a GPU waits for the host at: calls, loops of unknown length and branches
    bound         the sum over calls of the longer of products and traffic: lower than what the program takes,
                  unless what a call wrote is still in a cache for the next

XLA counts nothing for CUDA, and a GPU's bytes lack what cuDNN's convolutions work in: they are chosen on one.
Ends with 1 if a batch or a picture by rows gathers what is divided.
"""

import argparse
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import compiled_text
import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from nst_jax import Settings
from nst_jax.architecture import stride
from nst_jax.networks import vgg
from nst_jax.pretrained.network import Network
from nst_jax.transfer import machine, memory, program
from nst_jax.transfer.pictures import Pictures
from nst_jax.transfer.problem import make_problem

PROGRAMS = ("single", "batch", "rows")
"""The steps; ``gradient`` is no step."""

COLLECTIVES = (
    "all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter",
)  # fmt: skip
GATHERING = ("all-gather", "all-to-all")


@dataclass(frozen=True)
class Chip:
    """What a data sheet says of a chip."""

    name: str
    peak: dict[str, float]
    """Operations a second, dense, by the type that convolutions multiply."""
    bandwidth: float
    """Bytes a second, of its memory."""
    source: str


CHIPS = {
    "tpu": Chip(
        "TPU v5e",
        {"bf16": 197e12, "tf32": 197e12 / 3, "f32": 197e12 / 6},  # products of floats are 3 or 6 of bfloat16
        819e9,
        "https://cloud.google.com/tpu/docs/v5e",
    ),
    "h100": Chip(
        "H100 SXM",
        {"bf16": 989e12, "tf32": 494.5e12, "f32": 67e12},
        3.35e12,
        "https://www.nvidia.com/en-us/data-center/h100/, half of what it says with sparsity",
    ),
}
AUTO = {"tpu": "bf16", "h100": "tf32"}
"""What convolutions of float32 multiply there unless told otherwise."""

TPU = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
"""Keeps libtpu from looking for the machine that it is on."""

V5E = {1: "2x2", 2: "2x2", 4: "2x2", 8: "2x4", 16: "4x4"}
"""Topologies by how many of their chips are used; libtpu knows no smaller one."""


def devices_for(what, count):
    """Return devices to compile for, which need not be there."""
    if what == "cpu":
        return tuple(jax.local_devices()[:count])
    if what == "tpu":
        os.environ |= TPU
        return tuple(topologies.get_topology_desc(f"v5e:{V5E[count]}", "tpu").devices[:count])
    config = (Path(__file__).parent / "h100.txtpb").read_text()
    found = topologies.get_topology_desc("h100", "cuda", topology=f"1x1x{count}", target_config=config)
    return tuple(found.devices)


def problem_for(size, precision, devices="one"):
    """Return the problem of a square picture, as it is posed on a GPU or TPU: nothing is computed twice."""
    pixels = {"pyramid.levels": 1, "pyramid.variables": "pixels"}
    on_an_accelerator = {"network.engine": "direct", "memory": "fast"}
    values = pixels | on_an_accelerator | {"size": size, "precision": precision, "devices": devices}
    grey = np.full((size, size, 3), 0.5, np.float32)
    network = Network(vgg.random_params(jax.random.key(0)), "random", "", "", "")
    return make_problem(Pictures(grey, grey), Settings().with_values(values), network)


def operations(problem):
    """Return the multiplications and additions of loss and gradient: convolutions and Gram matrices.

    The gradient, which is with respect to the picture alone, has as many as the loss.
    """
    height, width = problem.content.shape[:2]
    shapes = jax.eval_shape(problem.prepared)
    positions = {name: (height // stride(name)) * (width // stride(name)) for name in shapes}
    convolutions = sum(positions[name] * np.prod(layer["kernel"].shape) for name, layer in shapes.items())
    grams = sum(positions[name] * shapes[name]["bias"].size ** 2 for name in problem.weights.style_layers)
    return int(2 * 2 * (convolutions + grams))


def collectives(text):
    """Return how many collectives of each kind a compiled program has."""
    kinds = "|".join(COLLECTIVES)
    return Counter(re.findall(rf" ({kinds})(?:-start)?\(", text))


def traffic(compiled):
    """Return the bytes that go to and from memory at least."""
    arguments, rest = machine.taken(compiled)
    return arguments + rest + compiled.memory_analysis().temp_size_in_bytes


def lowered_gradient(posed, shapes, device):
    """Return loss and gradient, ready to be compiled."""
    there = SingleDeviceSharding(device)
    placed = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there), (shapes.state.x, *shapes.args)
    )
    with posed.program.precisely():
        return jax.jit(jax.value_and_grad(posed.program.loss, has_aux=True)).lower(*placed)


def measured(name, options):
    """Return a row of the table: of one program, compiled."""
    chips = 1 if name in ("single", "gradient") else options.chips
    size = options.batch if name == "batch" else 1
    devices = devices_for(options.target, chips)
    posed = problem_for(options.size, options.precision, "rows" if name == "rows" else "one")
    shapes = memory.shapes_of(posed)
    begun = time.perf_counter()
    if name == "gradient":
        compiled = lowered_gradient(posed, shapes, *devices).compile()
    else:
        compiled = program.lowered(posed.program, shapes, size, devices).compile()
    seconds = time.perf_counter() - begun
    counted, text = compiled.cost_analysis() or {}, compiled.as_text()
    return {
        "program": name,
        "chips": chips,
        "seconds": seconds,
        "bytes": machine.taken(compiled),
        "operations": operations(posed) * size / chips,
        "operations by XLA": counted.get("flops"),
        "traffic": traffic(compiled),
        "traffic by XLA": counted.get("bytes accessed"),
        "collectives": collectives(text),
        "text": text,
    }


def peaks(target, precision):
    """Return what a chip's roofline is made of, in words."""
    chip, kind = CHIPS[target], AUTO[target] if precision == "auto" else precision
    rates = f"{chip.peak[kind] / 1e12:.4g}e12 operations in {kind}, {chip.bandwidth / 1e9:g}e9 bytes"
    return f"Peaks of {chip.name}: {rates} a second ({chip.source})."


def roofline(row, target, precision):
    """Return the seconds that operations and traffic take at least, and which of them is longer."""
    chip, kind = CHIPS[target], AUTO[target] if precision == "auto" else precision
    bounds = {"operations": row["operations"] / chip.peak[kind], "traffic": row["traffic"] / chip.bandwidth}
    longer = max(bounds, key=bounds.__getitem__)
    return bounds[longer], longer


def short(value):
    """Return three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def place(row, options):
    """Return the first columns."""
    what = {
        "single": "one picture",
        "batch": f"batch of {options.batch}",
        "rows": "one picture by rows",
        "gradient": "loss and gradient",
    }
    return {
        "step of": f"{what[row['program']]}, {options.size} x {options.size}",
        "chips": str(row["chips"]),
    }


def cells(row, options):
    """Return what the table says of a program, by column."""
    scaled = lambda name, unit: "" if row[name] is None else short(row[name] / unit)
    arguments, rest = (f"{number / 2**20:.0f}" for number in row["bytes"])
    found = place(row, options) | {
        "arguments, MiB a chip": arguments,
        "rest, MiB a chip": rest,
        "operations, 1e9 a chip": scaled("operations", 1e9),
        "operations by XLA": scaled("operations by XLA", 1e9),
        "traffic, GiB a chip": scaled("traffic", 2**30),
        "traffic by XLA": scaled("traffic by XLA", 2**30),
    }
    if options.target in CHIPS:
        seconds, longer = roofline(row, options.target, options.precision)
        found["roofline, ms"] = f"{short(1e3 * seconds)}, {longer}"
    counts = sorted(row["collectives"].items())
    found["collectives"] = ", ".join(f"{number} {kind}" for kind, number in counts) or "none"
    return found | {"compiled in, s": f"{row['seconds']:.0f}"}


def text_cells(row, options):
    """Return what the table of texts says of a program, by column."""
    chip = CHIPS.get(options.target)
    peak, bandwidth = (chip.peak, chip.bandwidth) if chip else (dict.fromkeys(("bf16", "tf32", "f32"), 1), 1)
    said = compiled_text.summary(row["text"], AUTO.get(options.target, "f32"), peak, bandwidth)
    numbers = lambda counts: ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    found = place(row, options) | {
        "calls": str(said.calls),
        "convolutions": numbers(said.convolutions),
        "products, 1e9": numbers({kind: short(n / 1e9) for kind, n in said.operations.items()}),
        "moved, MiB": short(said.moved / 2**20),
        "traffic, GiB": short(said.traffic / 2**30),
        "by host": str(said.by_host),
    }
    if chip:
        products = sum(number / peak[kind] for kind, number in said.operations.items())
        found |= {"products, ms": short(1e3 * products), "traffic, ms": short(1e3 * said.traffic / bandwidth)}
        found["bound, ms"] = short(1e3 * said.seconds)
    return found


def main():
    """Compile, print, and say whether anything is gathered."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--for", dest="target", choices=("tpu", "h100", "cpu"), default="cpu")
    parser.add_argument("--programs", nargs="+", choices=(*PROGRAMS, "gradient"), default=PROGRAMS)
    parser.add_argument("--size", type=int, default=512, help="pixels of each side (default: 512)")
    parser.add_argument("--batch", type=int, default=16, help="pictures (default: 16)")
    parser.add_argument("--chips", type=int, choices=V5E, default=4, help="for batch and rows (default: 4)")
    parser.add_argument("--precision", choices=("auto", "f32", "tf32", "bf16"), default="auto")
    parser.add_argument("--text", action="store_true", help="what the texts of the programs say")
    options = parser.parse_args()
    if options.text and options.target == "tpu":
        parser.error("--text reads programs for a GPU or a CPU: what a TPU moves, XLA counts itself")
    if "rows" in options.programs and options.chips < 2:
        parser.error("a picture by rows takes --chips 2 or more: give --programs single batch")
    jax.config.update("jax_platforms", "cpu")  # nothing else is there
    jax.config.update(
        "jax_num_cpu_devices", max(2, options.chips)
    )  # a picture by rows asks how many there are
    line = lambda texts: print(f"| {' | '.join(texts)} |", flush=True)
    gathered = []
    for name in options.programs:
        row = measured(name, options)
        shown = (text_cells if options.text else cells)(row, options)
        if name == options.programs[0]:
            line(shown)
            line(["---"] * len(shown))
        line(shown.values())
        gathered += [f"{name}: {kind}" for kind in GATHERING if row["collectives"][kind]]
    if options.target in CHIPS:
        print(f"\n{peaks(options.target, options.precision)}")
    if gathered:
        sys.exit(f"what is divided is gathered: {', '.join(gathered)}")


if __name__ == "__main__":
    main()

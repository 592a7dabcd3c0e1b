"""Prints what loss and gradient take of time and memory with blocks computed twice, in tiles, in turns.

python benchmarks/tiles.py --size 2048 [--rounds 2] [--units "(), 16" "(1,), 16" "(3, 4), 8"]

Units are followed by the breadth of tiles, see `seeing.Seeing`.

The picture is square and random: neither matters here. Time is the least of the rounds, which go through all
of the units in turn; memory is what the compiler says of all that exists only during an evaluation.
"""

import argparse
import ast
import time
from dataclasses import replace
from functools import partial

import jax
import numpy as np

from nst_jax import Settings
from nst_jax.pretrained.network import network_for
from nst_jax.transfer import machine, memory, objective
from nst_jax.transfer.pictures import Pictures
from nst_jax.transfer.problem import make_problem
from nst_jax.transfer.targets import targets_of


def main():
    """Compile all, then run them in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--weights", default="auto")
    parser.add_argument(
        "--units", nargs="+", type=ast.literal_eval, default=[each[:2] for each in memory.LADDER]
    )
    options = parser.parse_args()
    chosen = Settings(size=options.size).with_values({"pyramid.levels": 1, "pyramid.variables": "pixels"})
    random = np.random.default_rng(0)
    content = np.float32(random.uniform(size=(options.size, options.size, 3)))
    style = np.float32(random.uniform(size=(256, 256, 3)))
    network = network_for(options.weights, convention="gatys2016")
    problem = make_problem(Pictures(content, style), chosen, network)
    params = problem.prepared()
    args = params, targets_of(problem, params), memory.as_float32(problem.weights)
    x = problem.first_image()
    programs, found = {}, {units: [] for units in options.units}
    for units in options.units:
        seeing = replace(problem.program, recompute=units[0], breadth=units[1]).seeing
        run = jax.value_and_grad(partial(objective.loss, **seeing), has_aux=True)
        programs[units] = jax.jit(run).lower(x, *args).compile()
    for number in range(1 + options.rounds):
        for units, program in programs.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(x, *args))
            if number:  # the first is to warm up
                found[units].append(time.perf_counter() - begun)
    least = min(found[options.units[0]])
    print("| computed twice | breadth | memory, B/pixel | seconds | of the first |")
    print("| --- | --- | --- | --- | --- |")
    for (units, breadth), times in found.items():
        taken = sum(machine.taken(programs[units, breadth])[1:]) / options.size**2
        print(f"| {units} | {breadth} | {taken:.0f} | {min(times):.2f} | {min(times) / least:.2f} |")


if __name__ == "__main__":
    main()

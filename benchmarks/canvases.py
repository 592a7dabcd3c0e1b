"""What a program more is worth: the figures behind `canvases.PROGRAM`.

python benchmarks/canvases.py [--weights compact] [--size 256]

Seconds that a picture takes longer whose size is new, and that 150 evaluations take at each of its sizes from
coarse to fine, of as many pixels as `--size` has squared. Programs are not kept from one process to the next.
"""

import argparse
import os
import time

os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"

from nst_jax import config, images, samples, stylize
from nst_jax.settings import Solver

FEW, MORE = 1, 21
"""Evaluations at each size whose times are compared."""

NEW = 3
"""New sizes."""


def arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--size", type=int, default=256)
    return parser


def seconds(settings, width, height, evaluations):
    """Return how long a picture takes."""
    content, style = (images.resize(samples.load(name), (height, width)) for name in ("coffee", "chelsea"))
    begun = time.perf_counter()
    stylize(content, style, settings.with_values({"solver.evaluations": evaluations}))
    return time.perf_counter() - begun


def main():
    """Print the figures."""
    options = arguments().parse_args()
    width, height = options.size, options.size * 3 // 4
    settings = config.load(base={"weights": options.weights, "size": width})
    seconds(settings, width, height, FEW)
    known, longer = (seconds(settings, width, height, count) for count in (FEW, MORE))
    new = [seconds(settings, width, height + 8 * (i + 1), FEW) - known for i in range(NEW)]
    price = sorted(new)[NEW // 2]
    run = (longer - known) / (MORE - FEW) * Solver().evaluations * width / height
    print(f"a new size takes {price:.1f} s longer (each: {', '.join(f'{each:.1f}' for each in new)})")
    print(f"{Solver().evaluations} evaluations at each size of {width} x {width} pixels take {run:.1f} s")
    print(f"so a program is worth {price / run * width**2:,.0f} pixels")


if __name__ == "__main__":
    main()

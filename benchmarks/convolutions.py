"""Which engine is faster for a layer: the table behind `convolution.NARROWEST`.

python benchmarks/convolutions.py [--rounds 7]

For numbers of channels and image sizes, the time of a rectified convolution with its gradient by Winograd's
engine, over that by XLA's own. The engines take turns; each ratio is of medians. Below 1, Winograd is faster.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nst_jax.networks import convolution

CHANNELS = (8, 16, 32, 64, 128, 256, 512)
SIZES = (8, 16, 32, 64, 128, 256)
LARGEST = 256 * 256 * 64
"""Larger features than these occur in no VGG below 512 pixels."""


def compiled(engine: convolution.Engine, size: int, channels: int) -> Callable[[], None]:
    """Return a call that computes one layer and its gradient."""
    x = jax.random.normal(jax.random.key(0), (size, size, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, channels)) / channels
    layer = convolution.prepare({"kernel": kernel, "bias": jnp.zeros(channels)}, engine=engine)

    @jax.jit
    def both(x, layer):
        y, pull = jax.vjp(lambda x: convolution.rectified(x, layer, engine=engine), x)
        return pull(y)[0]

    jax.block_until_ready(both(x, layer))
    return lambda: jax.block_until_ready(both(x, layer))


def seconds(call: Callable[[], None]) -> float:
    """Return the time of one call, out of as many as take a hundredth of a second."""
    count, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < 0.01:
        call()
        count += 1
    return spent / count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{jax.default_backend()}: winograd / direct", *(f"{size:>6}" for size in SIZES), sep="  ")
    for channels in CHANNELS:
        cells = []
        for size in SIZES:
            if size * size * channels > LARGEST:
                cells.append(" " * 6)
                continue
            calls = [compiled(engine, size, channels) for engine in ("winograd", "direct")]
            times = [[seconds(call) for call in calls] for _ in range(rounds)]
            fast, plain = (statistics.median(column) for column in zip(*times, strict=True))
            cells.append(f"{fast / plain:6.2f}")
        print(f"{channels:>8} channels        ", *cells, sep="  ", flush=True)


if __name__ == "__main__":
    main()

"""Where the time of a step goes: each layer forwards and backwards, Gram matrices, and L-BFGS.

python benchmarks/profile_step.py [--size 128,256,512] [--engine auto] [--rounds 7]
    Each part is compiled and timed by itself, in turns, on random features of VGG-19's shapes; medians.
    Multiplied is what the part's method needs, with Winograd's a quarter (counted so too where a processor's
    matrix units take all); its rate is a share of that of a large matrix product, and that of what must be
    read and written a share of a copy's, both measured in the same run. Below is the whole: loss and
    gradient, and a step of L-BFGS.
python benchmarks/profile_step.py --paddings [--size 256,512]
    What other paddings take of the time of zero padding, loss and gradient in turns.
"""

import argparse
import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from nst_jax import Settings
from nst_jax.architecture import VGG19
from nst_jax.losses.gram import gram_matrix, natively
from nst_jax.networks import convolution
from nst_jax.pretrained.network import network_for
from nst_jax.transfer import memory, objective, program
from nst_jax.transfer.pictures import Pictures
from nst_jax.transfer.problem import make_problem
from nst_jax.transfer.targets import targets_of

DEEPEST = "conv5_1"
MULTIPLICATIONS = {"direct": 9, "winograd": 9 / 4, "native": 9 / 4}
"""For each position, channel in and channel out, by engine."""


def median(calls, rounds):
    """Return the median seconds of each call; they take turns, after one to warm up."""
    found = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            jax.block_until_ready(call())
            if number:
                found[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in found.items()}


def call(f, *given):
    """Return a call of a compiled function."""
    return partial(jax.jit(f).lower(*given).compile(), *given)


def rates(rounds):
    """Return the products a second of a large matrix product, and the bytes a second of a copy."""
    a, x = jnp.ones((2048, 2048)), jnp.ones(2**25)
    found = median({"product": call(jnp.matmul, a, a), "copy": call(lambda x: x + 1, x)}, rounds)
    return 2048**3 / found["product"], 2 * x.nbytes / found["copy"]


def parts(size, engine, random):
    """Return calls of the parts of loss and gradient, and of each its products, bytes and number."""
    calls, work, before, last = {}, {}, 3, VGG19.layers.index(DEEPEST) + 1

    def array(*shape):
        return jnp.asarray(random.standard_normal(shape), jnp.float32)

    for name in VGG19.layers[:last]:
        block, index = map(int, name.removeprefix("conv").split("_"))
        side, channels = size >> (block - 1), VGG19.blocks[block - 1][1]
        is_pooled = index == VGG19.blocks[block - 1][0] and name != DEEPEST
        key = f"conv {side} x {side}, {before} to {channels}{', pooled' if is_pooled else ''}"
        if key in work:
            work[key][2] += 1
        else:
            layer = {"kernel": array(3, 3, before, channels), "bias": array(channels)}
            used = convolution.engine_for(engine, layer["kernel"])
            layer = convolution.prepare(layer, engine=engine)
            look = partial(convolution.averaged if is_pooled else convolution.rectified, engine=engine)
            both = lambda x, g, layer, look=look: jax.vjp(lambda x: look(x, layer), x)[1](g)
            after = side // 2 if is_pooled else side
            x, g = array(side, side, before), array(after, after, channels)
            calls[f"{key}: forwards"] = call(look, x, layer)
            calls[f"{key}: both ways"] = call(both, x, g, layer)
            products = side * side * before * channels * MULTIPLICATIONS[used]
            work[key] = [2 * products, 2 * (x.nbytes + g.nbytes), 1]
        if index == 1:
            key, F, A = (
                f"Gram {side} x {side}, {channels}",
                array(side, side, channels),
                array(channels, channels),
            )

            def gram(F, A):
                with natively(convolution.may_be_native(engine)):
                    return jax.value_and_grad(lambda F: jnp.mean((gram_matrix(F) - A) ** 2))(F)

            calls[f"{key}: both ways"] = call(gram, F, A)
            work[key] = [1.5 * side * side * channels**2, 3 * F.nbytes, 1]
        before = channels
    return calls, work


def whole(size, engine, weights, padding="zero"):
    """Return calls of loss and gradient, and of a step of L-BFGS."""
    random = np.random.default_rng(0)
    values = {"pyramid.levels": 1, "pyramid.variables": "pixels", "network.engine": engine}
    settings = Settings(size=size).with_values(values | {"network.padding": padding, "memory": "fast"})
    pictures = Pictures(*np.float32(random.uniform(size=(2, size, size, 3))))
    problem = make_problem(pictures, settings, network_for(weights, convention="gatys2016"))
    params = problem.prepared()
    args = params, targets_of(problem, params), memory.as_float32(problem.weights)
    x = problem.first_image()
    loss = jax.value_and_grad(partial(objective.loss, **problem.program.seeing), has_aux=True)
    step, states = program.compiled(problem.program, memory.shapes_of(problem)), []
    states.append(program.start(x, args, program=problem.program))

    def take():
        states.append(step(states.pop(), args))
        return states[-1].value

    return {"loss and gradient": call(loss, x, *args), "a step of L-BFGS": take}


def profile(size, options, known):
    """Print the table of a size."""
    calls, work = parts(size, options.engine, np.random.default_rng(0))
    times = median(calls, options.rounds)
    all_ = median(whole(size, options.engine, options.weights), options.rounds)
    print(f"\n{size} x {size}\n\n| part | times | ms | of which forwards | product rate | copy rate |")
    print("| --- | --- | --- | --- | --- | --- |")
    total = 0
    for key, (products, nbytes, count) in work.items():
        taken, forwards = times[f"{key}: both ways"], times.get(f"{key}: forwards")
        total += count * taken
        share = f"{products / taken / known[0]:.2f}" if products else ""
        first = "" if forwards is None else f"{1e3 * forwards:.1f}"
        cells = key, count, f"{1e3 * taken:.1f}", first, share, f"{nbytes / taken / known[1]:.2f}"
        print("|", " | ".join(map(str, cells)), "|")
    products = sum(count * each for each, _, count in work.values())
    network = sum(count * times[f"{key}: both ways"] for key, (_, _, count) in work.items() if "conv" in key)
    floor = products / known[0]
    print(f"| together | | {1e3 * total:.1f} | | {floor / total:.2f} | |")
    for name, taken in all_.items():
        rest = 1 - network / taken
        print(f"| {name} | | {1e3 * taken:.1f} | | {floor / taken:.2f} | |  not convolutions: {rest:.0%}")


def main():
    """Print a table of each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=lambda text: [*map(int, text.split(","))], default=[128, 256, 512])
    parser.add_argument("--engine", choices=("auto", "direct", "winograd", "native"), default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--weights", default="vgg19")
    parser.add_argument("--paddings", action="store_true")
    options = parser.parse_args()
    if options.paddings:
        for size in options.size:
            kinds = ("zero", "replicate", "wrap")
            calls = {
                kind: whole(size, options.engine, options.weights, kind)["loss and gradient"]
                for kind in kinds
            }
            times = median(calls, options.rounds)
            print(f"{size} x {size}:", *(f"{kind} {times[kind] / times['zero']:.2f}" for kind in kinds))
        return
    known = rates(options.rounds)
    print(f"product {2 * known[0] / 1e9:.0f} GFLOP/s, copy {known[1] / 1e9:.1f} GB/s")
    for size in options.size:
        profile(size, options, known)


if __name__ == "__main__":
    main()

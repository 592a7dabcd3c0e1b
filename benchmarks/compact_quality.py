"""How good the compact network's pictures are in the eyes of VGG-19.

python benchmarks/compact_quality.py [--contents PHOTO ... --styles PAINTING ...] [--pairs PHOTO PAINTING ...]
python benchmarks/compact_quality.py --errors PICTURE ...     # of its features, layer by layer
python benchmarks/compact_quality.py --costs 256 512          # time and memory of an evaluation

Needs VGG-19's weights, in $NST_JAX_WEIGHTS or in the cache. Each pair is painted with the compact network,
with random filters in the same shape (mean activation one), with VGG-19 less conv5_1 in its style, and with
VGG-19, all by the same settings from the content. Then the terms of the loss, S (style) and C (content), of
each picture are measured under VGG-19, normalised, with average pooling. The tables, in Markdown:

style    log(S(photograph) / S) / log(S(photograph) / S_vgg): the share of VGG-19's own reduction of the style
         loss, on a log scale; conv1_1 to conv5_1: the same of each layer's term
layers   the mean of these five shares, each at most 1: S itself is mostly conv5_1
content  C / C_vgg
alike    C over that of VGG-19's run when its S was as low as this picture's
"""

import argparse
import functools
import itertools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nst_jax import Network, Settings, images, load_network, stylize
from nst_jax.networks import vgg
from nst_jax.pretrained import compact
from nst_jax.pretrained.network import photographs
from nst_jax.runs import inputs
from nst_jax.runs.records import by_kind
from nst_jax.transfer import objective, problem
from nst_jax.transfer.pictures import Pictures, sized
from nst_jax.transfer.targets import targets_of

SETTINGS = Settings().with_values(
    {
        "loss.total_variation": 2e-3,
        "pyramid.levels": 1,
        "pyramid.variables": "pixels",
        "content.weight": 1.0,
    }
)
"""Against grain; at one size, so that curves can be compared."""


def load(name, size):
    """Return an image by its file or as sample:NAME, its longer side at most ``size``."""
    return images.bounded(inputs.read_picture(name, images.MAX_PIXELS)[0].rgb, size)


def random_filters():
    """Return VGG-19's shape with random filters, each of mean activation one over the sample photographs."""
    params = vgg.random_params(jax.random.key(0))
    means = vgg.mean_activations(params, map(vgg.to_input, photographs(256)))
    return Network(vgg.normalise(params, means), "random", "random", "", "")


MAKERS = {
    "random": random_filters,
    "compact": functools.partial(load_network, "compact"),
    "shallow": functools.partial(load_network, "vgg19"),
}
OWN = {"shallow": {"style.layers": dict.fromkeys(["conv1_1", "conv2_1", "conv3_1", "conv4_1"], 0.2)}}
"""Settings of one alone."""


def judge(pictures, network):
    """Return a function from a picture to its loss terms under VGG-19."""
    posed = problem.make_problem(pictures, Settings(), network)
    params = posed.prepared()
    targets = targets_of(posed, params)
    seeing = posed.program.seeing
    terms = jax.jit(lambda x: objective.loss(x, params, targets, posed.weights, **seeing)[1])
    return lambda picture: {name: float(value) for name, value in terms(vgg.to_input(picture)).items()}


def judged(record, photograph, painting, networks, out, evaluations):
    """Add to a pair's record what VGG-19 says at the start, along its own run and of each picture.

    What the record has of the same network is kept.
    """
    digests = record.setdefault("digests", {})
    missing = {name: network for name, network in networks.items() if digests.get(name) != network.digest}
    if not missing:
        return
    pictures = sized(Pictures(photograph, painting), Settings())
    terms = judge(pictures, networks["vgg19"])
    record["start"] = terms(photograph)
    for name, network in missing.items():
        curve = []
        result = stylize(
            pictures.content,
            pictures.style,
            SETTINGS.with_values(OWN.get(name, {})),
            evaluations=evaluations,
            network=network,
            callback=lambda at, to=curve: to.append(at.terms),
        )
        digests[name] = network.digest
        record.setdefault("found", {})[name] = terms(result.image)
        if name == "vgg19":
            record["curve"] = curve
        if out:
            images.write(f"{out}_{name}.png", result.image)


def shares(record, name):
    """Return what the table says of a network's picture."""
    start, vgg19, terms = record["start"], record["found"]["vgg19"], record["found"][name]

    def share(measure):
        return np.log(measure(start) / measure(terms)) / np.log(measure(start) / measure(vgg19))

    layers = {
        key.removeprefix("style/"): share(lambda t, key=key: t[key])
        for key in start
        if key.startswith("style")
    }
    curve = [by_kind(point) for point in [*record["curve"], vgg19]]
    curve = [point for point in curve if point["content"] > 0]
    falling = -np.minimum.accumulate([point["style"] for point in curve])
    sums = by_kind(terms)
    alike = np.exp(np.interp(-sums["style"], falling, np.log([point["content"] for point in curve])))
    return {
        "style": share(lambda t: by_kind(t)["style"]),
        "layers": np.mean([min(value, 1.0) for value in layers.values()]),
        "content": sums["content"] / by_kind(vgg19)["content"],
        "alike": sums["content"] / alike,
        **layers,
    }


def table(records, name):
    """Return a network's table as Markdown: a row for each pair, and their means."""
    rows = {pair: shares(record, name) for pair, record in records.items()}
    heads = list(next(iter(rows.values())))
    rows["mean"] = {
        head: (geometric if head in ("content", "alike") else np.mean)([row[head] for row in rows.values()])
        for head in heads
    }
    lines = [["pair", *heads], ["---"] * (1 + len(heads))]
    lines += [[pair, *(f"{row[head]:.2f}" for head in heads)] for pair, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def feature_errors(pictures, size):
    """Print the errors of the compact network's features, relative to the variance of those they imitate."""
    vgg19, network, stored = load_network("vgg19"), load_network("compact"), compact.read()
    channels, found = stored.channels, {}
    for name in pictures:
        x = vgg.to_input(load(name, size))
        F = vgg.features(network.params, x, layers=channels)
        wanted = vgg.features(vgg19.params, x, layers=channels)
        for layer, which in channels.items():
            P = wanted[layer][..., which]
            error, variance = jnp.sum((F[layer] - P) ** 2), jnp.sum((P - P.mean((0, 1), keepdims=True)) ** 2)
            found.setdefault(layer, []).append((float(error), float(variance)))
    for layer, pairs in found.items():
        error, variance = np.sum(pairs, 0)
        print(f"| {layer} | {error / variance:.3f} |")


def costs(sizes, rounds=9):
    """Print the time of an evaluation, and what its program takes of memory, for each size."""
    networks = {name: load_network(name).params for name in ("vgg19", "compact")}
    for size in sizes:
        x = jnp.asarray(np.random.default_rng(0).normal(0, 60, (size, size, 3)), jnp.float32)
        runs, memory = {}, {}
        for name, params in networks.items():
            params = vgg.prepared(params, deepest="conv5_1")
            targets, weights = objective.make_targets(params, x, x[::-1]), objective.loss_weights()
            loss = functools.partial(objective.loss, engine="auto")
            evaluate = jax.jit(jax.value_and_grad(loss, has_aux=True))
            program = evaluate.lower(x, params, targets, weights).compile()
            memory[name] = program.memory_analysis().temp_size_in_bytes + sum(
                leaf.nbytes for leaf in jax.tree.leaves((params, targets))
            )
            runs[name] = functools.partial(program, x, params, targets, weights)
        times = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                begun = time.perf_counter()
                jax.block_until_ready(run())
                times[name].append(time.perf_counter() - begun)
        ms = {name: 1e3 * np.median(each) for name, each in times.items()}
        mib = {name: each / 2**20 for name, each in memory.items()}
        print(
            f"{size}: {ms['compact']:.0f} of {ms['vgg19']:.0f} ms = {ms['compact'] / ms['vgg19']:.2f}; "
            f"{mib['compact']:.0f} of {mib['vgg19']:.0f} MiB = {mib['compact'] / mib['vgg19']:.2f}"
        )


def geometric(values):
    """Return the geometric mean."""
    return np.exp(np.mean(np.log(values)))


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contents", nargs="+", default=[])
    parser.add_argument("--styles", nargs="+", default=[])
    parser.add_argument("--pairs", nargs="+", default=[], help="a photograph and a painting each")
    parser.add_argument("--networks", default="random,shallow,compact", help="besides vgg19")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a folder for the pictures and numbers; what it has is kept")
    parser.add_argument("--errors", nargs="+", metavar="PICTURE")
    parser.add_argument("--costs", nargs="+", type=int, metavar="SIZE")
    options = parser.parse_args()
    if options.errors:
        feature_errors(options.errors, options.size)
    if options.costs:
        costs(options.costs)
    if options.errors or options.costs:
        return
    if len(options.pairs) % 2 or bool(options.contents) != bool(options.styles):
        parser.error("a photograph and a painting make a pair: one of them is missing")
    if unknown := set(options.networks.split(",")) - set(MAKERS):
        parser.error(f"--networks: {', '.join(sorted(unknown))}: allowed are {', '.join(MAKERS)}")
    pairs = [*itertools.product(options.contents, options.styles)]
    pairs += zip(options.pairs[::2], options.pairs[1::2], strict=True)
    names = options.networks.split(",")
    networks = {"vgg19": load_network("vgg19")} | {name: MAKERS[name]() for name in names}
    records, known = {}, None
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        known = options.out / f"{options.size}_{options.evaluations}.json"
    kept = json.loads(known.read_text()) if known and known.exists() else {}
    for photograph, painting in pairs or [("sample:coffee", "sample:starry_swirls")]:
        pair = f"{label(photograph)} × {label(painting)}"
        record = records[pair] = kept.setdefault(pair, {})
        given = load(photograph, options.size), load(painting, options.size)
        picture = options.out and options.out / f"{label(photograph)}_{label(painting)}"
        judged(record, *given, networks, picture, options.evaluations)
        if known:
            known.write_text(json.dumps(kept, indent=1))
        print(pair, *(f"{name} {shares(record, name)['style']:.3f}" for name in names), flush=True)
    for name in names:
        print(f"\n{name}\n\n{table(records, name)}")


def label(name):
    """Return an image's name without folder and suffix."""
    return Path(name.removeprefix("sample:")).stem


if __name__ == "__main__":
    main()

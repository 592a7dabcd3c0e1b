"""Distil VGG-19 into the compact network that comes with the package.

python tools/distil.py VGG19 PICTURES [--out nst_jax/pretrained/data/compact.npz] [--steps 2400]

VGG19 is a weights file, PICTURES a folder of at least 20 photographs and paintings. The compact network, the
student, has VGG-19's layers to conv5_1 with `WIDTHS` channels in its blocks, and each of its features
imitates one of VGG-19's, normalised to mean activation one:

1. Crops are drawn from the pictures: scaled, mirrored, turned, their colours mixed, with noise.
2. Layer after layer, the features that span most of VGG-19's are chosen (pivoted Cholesky of their second
   moments), and the layer's kernel is a ridge regression of VGG-19's pre-activations on what the student
   itself makes of the crops. Where VGG-19 is silent, a prediction below zero is right as it is, in `ROUNDS`
   rounds.
3. Adam improves all layers together: features relative to their variance, and Gram matrices of the style
   layers. Half of what it sees are pictures that are being painted with the student meanwhile, for those are
   what the network is used on (Ross, Gordon & Bagnell 2011, "A reduction of imitation learning and
   structured prediction to no-regret online learning").

The same arguments give the same file on the same machine.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.architecture import VGG19, block_and_index, kernel_shapes
from nst_jax.errors import ImageError, NstError, WeightsError
from nst_jax.files import check_folder
from nst_jax.losses.gram import gram_matrix
from nst_jax.networks import convolution, pooling, vgg
from nst_jax.pretrained import compact, normalisation
from nst_jax.pretrained import files as weights
from nst_jax.transfer import objective

WIDTHS = (32, 64, 128, 256, 512)
"""Channels of the blocks: the first ones cost the time, the last ones give the quality."""

CONVOLUTIONS = (2, 2, 4, 4, 1)
BLOCKS = tuple(zip(CONVOLUTIONS, WIDTHS, strict=True))
LAYERS = tuple(kernel_shapes(BLOCKS))
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

RECIPE = "compact-1"
"""Changes whenever the same pictures would give another network."""

FEWEST = 20
SIDE = 160
CROPS, POSITIONS = 200, 700
"""What the regression sees: crops, and positions of each."""

RIDGE, ROUNDS = 1e-4, 4

BATCH = 2
"""Crops a step, and as many pictures that are being painted."""

PAINTINGS = 24
"""Pictures that are being painted."""

RATE = 1e-3
"""Of Adam, in units of each kernel's root mean square."""

GRAMS = 2.0
"""Weight of the Gram matrices' relative error."""

Params = dict[str, dict[str, Any]]
Values = NDArray[np.float32]
Indices = NDArray[np.integer]


# Data


def read_pictures(folder: Path) -> list[Values]:
    """Return all pictures of a folder, in the order of their names, with at most 640 pixels a side."""
    if not folder.is_dir():
        raise ImageError(f"{folder}: should be a folder of pictures")
    pictures = []
    for path in sorted(folder.iterdir()):
        try:
            pictures.append(images.bounded(images.read(path).rgb, 640))
        except ImageError:
            print(f"{path.name}: is no picture", file=sys.stderr)
    if len(pictures) < FEWEST:
        raise ImageError(f"{folder}: should hold at least {FEWEST} pictures, has {len(pictures)}")
    return pictures


def crop(picture: Values, random: np.random.Generator) -> Values:
    """Return a square of `SIDE` pixels from a picture, scaled, mirrored, turned, recoloured, with noise."""
    height, width, _ = picture.shape
    side = int(min(height, width) * random.uniform(0.3, 1.0))
    y, x = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    square: NDArray[np.floating] = images.resize(
        np.ascontiguousarray(picture[y : y + side, x : x + side]), (SIDE, SIDE)
    )
    if random.random() < 0.5:
        square = square[:, ::-1]
    if random.random() < 0.25:
        square = square.transpose(1, 0, 2)
    if random.random() < 0.5:
        square = (
            (square - 0.5) @ (np.eye(3) + random.normal(0, 0.25, (3, 3))) + 0.5 + random.normal(0, 0.1, 3)
        )
    if random.random() < 0.2:
        square = (square - 0.5) * random.uniform(0.5, 1.8) + 0.5
    if random.random() < 0.25:
        square = square + random.normal(0, random.uniform(0.02, 0.2), square.shape)
    return np.asarray(np.clip(square, 0, 1), np.float32)


def crops(pictures: Sequence[Values], count: int, random: np.random.Generator) -> Array:
    """Return crops of pictures drawn at random, in the network's input space."""
    drawn = [crop(pictures[int(random.integers(len(pictures)))], random) for _ in range(count)]
    return vgg.to_input(np.stack(drawn))


# Regression, layer by layer


def chosen_features(F: Values, count: int) -> Indices:
    """Return the channels of features ``(positions, channels)`` that together predict all others best."""
    C = (F.T @ F / len(F)).astype(np.float64)
    chosen: list[int] = []
    for _ in range(count):
        left = np.diagonal(C)
        gain = np.where(left > 1e-9, np.sum(C**2, 0) / np.maximum(left, 1e-9), -1)
        gain[chosen] = -1
        best = int(np.argmax(gain))
        chosen.append(best)
        C = C - np.outer(C[:, best], C[best]) / max(C[best, best], 1e-9)
    return np.sort(chosen)


def regression(U: Values, Z: Values) -> Values:
    """Return the matrix W of a ridge regression of Z on U, where what is below zero need only stay so."""
    G = (U.T @ U).astype(np.float64)
    factor = np.linalg.inv(G + RIDGE * np.mean(np.diagonal(G)) * np.eye(len(G)))
    W = (factor @ (U.T @ Z)).astype(np.float32)
    for _ in range(ROUNDS - 1):
        wanted = np.where(Z > 0, Z, np.minimum(U @ W, 0))
        W = (factor @ (U.T @ wanted)).astype(np.float32)
    return W


@jax.jit
def pre_activations(x: Array, layer: dict[str, Array]) -> Array:
    """Return a layer's values before the rectifier, of one picture."""
    return convolution.convolved(x, layer)


def regressed(teacher: Params, xs: Array, random: np.random.Generator) -> tuple[Params, dict[str, Indices]]:
    """Return the student after regression, and the teacher's channels that its own imitate."""
    t = s = [np.asarray(x) for x in xs]
    student, chosen = {}, {}
    for name, (*_, inputs, outputs) in kernel_shapes(BLOCKS).items():
        height, width = t[0].shape[:2]
        z = [np.asarray(pre_activations(x, teacher[name])) for x in t]
        at = [np.unravel_index(random.permutation(height * width)[:POSITIONS], (height, width)) for _ in t]
        Z = np.concatenate([each[place] for each, place in zip(z, at, strict=True)])
        chosen[name] = chosen_features(np.maximum(Z, 0), outputs)
        U = np.concatenate([patches(each, *place) for each, place in zip(s, at, strict=True)])
        W = regression(U, Z[:, chosen[name]])
        kernel = W[:-1].reshape(3, 3, inputs, outputs)
        student[name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(W[-1])}
        t = [np.maximum(each, 0) for each in z]
        s = [np.maximum(np.asarray(pre_activations(x, student[name])), 0) for x in s]
        if block_and_index(name)[1] == BLOCKS[block_and_index(name)[0] - 1][0]:
            t, s = ([np.asarray(pooling.pooled(jnp.asarray(x), "avg")) for x in each] for each in (t, s))
    return student, chosen


def patches(x: Values, rows: Indices, columns: Indices) -> Values:
    """Return the 3 x 3 neighbourhoods of positions, and a one: ``(positions, 9 channels + 1)``."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    taps = [padded[rows + i, columns + j] for i in range(3) for j in range(3)]
    return np.concatenate([*taps, np.ones((len(rows), 1), np.float32)], 1)


# Adam, all layers together


class Painting(NamedTuple):
    """Pictures that are being painted by Adam, as arrays with a leading axis."""

    x: Array
    mean: Array
    square: Array
    age: Array
    content: Array
    style: Array


def imitated(teacher: Params, chosen: dict[str, Indices], x: Array) -> dict[str, Array]:
    """Return the teacher's features that the student should have."""
    F = vgg.features(teacher, x, layers=LAYERS, engine="auto")
    return {name: F[name][..., chosen[name]] for name in LAYERS}


def errors(
    student: Params, x: Array, wanted: dict[str, Array], variance: dict[str, Array]
) -> dict[str, Array]:
    """Return the relative squared errors of features and Gram matrices."""
    F = vgg.features(student, x, layers=LAYERS)
    found = {name: jnp.mean((F[name] - wanted[name]) ** 2) / variance[name] for name in LAYERS}
    for name in STYLE:
        G, A = gram_matrix(F[name]), gram_matrix(wanted[name])
        found[f"gram {name}"] = jnp.sum((G - A) ** 2) / jnp.sum(A**2)
    return found


def painted(student: Params, now: Painting) -> Painting:
    """Take one step of Adam on each picture's loss, in the eyes of the student."""
    objective_weights = objective.loss_weights(total_variation=2e-3)

    def slope(x: Array, content: Array, style: Array) -> Array:
        targets = objective.make_targets(student, content, style)
        found: Array = jax.grad(lambda x: objective.loss(x, student, targets, objective_weights)[0])(x)
        return found

    g = jax.vmap(slope)(now.x, now.content, now.style)
    age = now.age + 1
    mean, square = 0.9 * now.mean + 0.1 * g, 0.99 * now.square + 0.01 * g**2
    t = age[:, None, None, None]
    step = mean / (1 - 0.9**t) / (jnp.sqrt(square / (1 - 0.99**t)) + 1e-12)
    return now._replace(x=now.x - 4.0 * step, mean=mean, square=square, age=age)


def improved(
    student: Params,
    teacher: Params,
    chosen: dict[str, Indices],
    draw: Callable[[int], Array],
    *,
    steps: int,
    random: np.random.Generator,
) -> Params:
    """Return the student after Adam on all layers."""
    scale = jax.tree.map(lambda a: jnp.maximum(jnp.sqrt(jnp.mean(a**2)), 1e-3), student)
    schedule = optax.warmup_cosine_decay_schedule(
        0.1 * RATE, RATE, min(200, steps // 10 + 1), steps, 0.01 * RATE
    )
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))
    scaled = jax.tree.map(jnp.divide, student, scale)
    see = jax.jit(jax.vmap(lambda teacher, x: imitated(teacher, chosen, x), in_axes=(None, 0)))
    held_out = draw(8)
    held_out_features = see(teacher, held_out)
    variance = {name: jnp.mean(jnp.var(F, (0, 1, 2))) for name, F in held_out_features.items()}

    def total(scaled: Params, x: Array, wanted: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        each = jax.vmap(partial(errors, jax.tree.map(jnp.multiply, scaled, scale), variance=variance))(
            x, wanted
        )
        found = jax.tree.map(jnp.mean, each)
        return sum(GRAMS * value if "gram" in name else value for name, value in found.items()), found

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(
        scaled: Params, state: Any, now: Painting, seen: Array, teacher: Params
    ) -> tuple[Params, Any, Painting]:
        now = painted(jax.tree.map(jnp.multiply, scaled, scale), now)
        x = jnp.concatenate([seen, now.x])
        g = jax.grad(total, has_aux=True)(scaled, x, see(teacher, x))[0]
        change, state = optimiser.update(g, state, scaled)
        return optax.apply_updates(scaled, change), state, now

    report = jax.jit(lambda scaled, x, wanted: total(scaled, x, wanted)[1])

    def begin() -> tuple[Painting, int]:
        """Return pictures to paint, and for how many steps."""
        content, style = draw(BATCH), draw(BATCH)
        noise = vgg.to_input(np.float32(random.uniform(size=content.shape)))
        first = content if random.random() < 0.8 else noise
        mean, square = jnp.zeros((2, *content.shape))
        now = Painting(jnp.array(first), mean, square, jnp.zeros(BATCH), content, style)
        return now, int(random.integers(5, 120))

    state, begun = optimiser.init(scaled), time.monotonic()
    slots: list[tuple[Painting, int] | None] = [None] * (PAINTINGS // BATCH)
    for n in range(steps):
        if n % 250 == 0:
            found = report(scaled, held_out, held_out_features)
            print(n, f"{time.monotonic() - begun:.0f} s", summary(found), flush=True)
        slot = slots[n % len(slots)]
        now, left = slot if slot and slot[1] else begin()
        scaled, state, now = step(scaled, state, now, draw(BATCH), teacher)
        slots[n % len(slots)] = now, left - 1
    print(steps, f"{time.monotonic() - begun:.0f} s", summary(report(scaled, held_out, held_out_features)))
    result: Params = jax.tree.map(jnp.multiply, scaled, scale)
    return result


def summary(found: dict[str, Array]) -> str:
    """Return errors in one line."""
    return " ".join(f"{name.replace('conv', '')} {float(value):.3f}" for name, value in found.items())


# From a file to a file


def unnormalised(student: Params, divisors: dict[str, Array]) -> Params:
    """Undo `vgg.normalise`."""
    result, before = {}, jnp.ones(3)
    for name in LAYERS:
        kernel = student[name]["kernel"] / before[None, None, :, None] * divisors[name][None, None, None]
        result[name] = {"kernel": kernel, "bias": student[name]["bias"] * divisors[name]}
        before = divisors[name]
    return result


def distilled(source: Path, folder: Path, *, steps: int, seed: int = 0) -> compact.Compact:
    """Return the compact network."""
    pictures = read_pictures(folder)
    params, found = weights.read(source)
    if found.architecture != VGG19 or found.normalised:
        raise WeightsError(f"{source}: should be the original VGG-19, is {found.architecture.title}")
    means = {pool: normalisation.shipped_means(params, pool) for pool in get_args(vgg.Pool)}
    if means["avg"] is None or means["max"] is None:
        raise WeightsError(f"{source}: is not the VGG-19 whose mean activations come with nst_jax")
    divisors = vgg.divisors(means["avg"])
    whole = vgg.normalise(params, means["avg"])
    teacher = {name: whole[name] for name in LAYERS}
    random = np.random.default_rng(seed)
    student, chosen = regressed(teacher, crops(pictures, CROPS, random), random)
    prepared = vgg.prepared(teacher, deepest=LAYERS[-1])
    draw = partial(crops, pictures, random=random.spawn(1)[0])
    student = improved(student, prepared, chosen, draw, steps=steps, random=random)
    student = unnormalised(student, {name: divisors[name][chosen[name]] for name in LAYERS})
    kept = {pool: {name: each[name][chosen[name]] for name in LAYERS} for pool, each in means.items() if each}
    record = compact.Record("VGG-19", found.digest, RECIPE, weights.LICENCE)
    return compact.Compact(student, chosen, kept, record)


def main() -> int:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, metavar="VGG19")
    parser.add_argument("pictures", type=Path, metavar="PICTURES")
    parser.add_argument("--out", type=Path, default=compact.PATH)
    parser.add_argument("--steps", type=int, default=2400)
    options = parser.parse_args()
    try:
        check_folder(options.out)  # before half an hour's work
        weights.check_other(options.weights, options.out)
        compact.write(options.out, distilled(options.weights, options.pictures, steps=options.steps))
    except NstError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

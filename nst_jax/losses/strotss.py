"""The style as relaxed optimal transport between hypercolumns, their moments, and the palette.

Kolkin, Salavon & Shakhnarovich, "Style transfer by relaxed optimal transport and self-similarity" (STROTSS,
CVPR 2019), equations (2) to (7). Its content term is `self_similarity`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.hypercolumns import directions, sampled
from nst_jax.losses.ranks import drawn
from nst_jax.losses.terms import INPUT, Features, Guides, StyleTerm

PLACES = 1024
"""Of the picture, that are compared at a time."""

SAMPLES = 4096
"""Of the style, in all."""

RENEW = 10
"""Evaluations with the same places."""

GREY_LEVELS = 255.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Samples:
    """Hypercolumns of the style, and where the picture's are taken."""

    layers: dict[str, Array]
    """Of the style, by layer, ``(samples, channels)``."""
    colours: Array
    """``(samples, 3)``"""
    places: Array
    """Rows and columns as shares, ``(places, 2)``."""
    key: Array
    """Of the places to come, as data."""
    where: Array | None
    """How much each place of the picture counts, ``(height, width, 1)``; None: all alike."""


@dataclass(frozen=True)
class RelaxedTransport(StyleTerm):
    """Hypercolumns are those of the style, as a set."""

    layers = (
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
        *("conv4_3", "conv5_1"),
    )
    levels = 4
    is_joint = True
    renew_every = RENEW
    is_smooth = False
    unit = 0.47
    seed: int = 0
    """Of the places."""

    @property
    def room(self) -> int:
        """Two by two positions of the deepest layer."""
        return 2

    def all_targets(self, features: Iterable[Features], guides: Mapping[str, Guides]) -> Samples:
        """Return samples of the style; where the picture's are taken is known when it is `renewed`."""
        now, later = jax.random.split(jax.random.key(self.seed))
        chosen = _chosen(now, guides[INPUT])
        samples: Features | None = None
        for number, picture in enumerate(features):
            samples = jax.block_until_ready(_taken(samples, picture, chosen, number))  # type: ignore[no-untyped-call]
        assert samples is not None
        layers = {name: each for name, each in samples.items() if name != INPUT}
        height, width = guides[INPUT].content.shape[:2]
        unknown = jnp.full((min(PLACES, height * width), 2), 0.5)
        return Samples(layers, samples[INPUT], unknown, jax.random.key_data(later), guides[INPUT].where)

    def distances(
        self,
        F: Features,
        targets: Samples,
        weights: Mapping[str, Array | float],
        *,
        per_channel: bool = False,
    ) -> dict[str, Array]:
        """Return the relaxed distance of hypercolumns, of moments, and of colours.

        Layers count in hypercolumns by their weights relative to one another. Differs from the paper: colours
        are in the palette only, where they are compared by their distance, and places stay for `RENEW`
        evaluations.
        """
        total = sum(weights.values())
        shares = {name: weights[name] * len(weights) / jnp.maximum(total, 1e-12) for name in weights}
        ours, theirs = (
            jnp.concatenate([share * each[name] for name, share in shares.items()], 1)
            for each in ({name: sampled(F[name], targets.places) for name in shares}, targets.layers)
        )
        colours = sampled(F[INPUT], targets.places)
        found = {
            "transport": relaxed(1 - directions(ours) @ directions(theirs).T),
            "moments": moments(ours, theirs),
            "palette": relaxed(euclidean(colours, targets.colours) / GREY_LEVELS),
        }
        return {name: self.unit * total * value for name, value in found.items()}

    def all_renewed(self, F: Features, targets: Samples) -> Samples:
        """Return the target with other places of the picture."""
        now, later = jax.random.split(jax.random.wrap_key_data(targets.key))
        where = targets.where
        places = jax.random.uniform(now, targets.places.shape)
        if where is not None:
            rows = _places(where.shape, 0)[:, :, :2].reshape(-1, 2)
            upto = jnp.cumsum(where.reshape(-1))
            places = rows[jnp.searchsorted(upto, places[:, 0] * upto[-1])]
        return replace(targets, places=places, key=jax.random.key_data(later))


def relaxed(C: Array) -> Array:
    """Return max(mean_i min_j C_ij, mean_j min_i C_ij): no more than optimal transport costs.

    Equation (4) of the paper: each bound drops one of the two constraints on the plan.
    """
    return jnp.maximum(jnp.mean(jnp.min(C, 1)), jnp.mean(jnp.min(C, 0)))


def moments(A: Array, B: Array) -> Array:
    """Return mean |mu_A - mu_B| + mean |S_A - S_B|, of means and covariances: equation (6)."""
    (mu, S), (nu, T) = _moments(A), _moments(B)
    return jnp.mean(jnp.abs(mu - nu)) + jnp.mean(jnp.abs(S - T))


def _moments(A: Array) -> tuple[Array, Array]:
    mean = jnp.mean(A, 0, keepdims=True)
    return mean, (A - mean).T @ (A - mean) / len(A)


def euclidean(a: Array, b: Array) -> Array:
    """Return the Euclidean distances of all pairs of rows."""
    squares = jnp.sum(jnp.square(a), 1)[:, None] + jnp.sum(jnp.square(b), 1)[None] - 2 * a @ b.T
    return jnp.sqrt(jnp.maximum(squares, 1e-6))


@jax.jit
def _chosen(key: Array, guides: Guides) -> Array:
    """Return where samples of the style are taken, and the number of their picture, ``(samples, 3)``."""
    places = [_places(map_.shape, number) for number, map_ in enumerate(guides.style)]
    table = drawn(places, guides.visible, guides.shares)
    return table[jax.random.randint(key, (min(SAMPLES, len(table)),), 0, len(table))]


@jax.jit
def _taken(known: Features | None, picture: Features, chosen: Array, number: int) -> Features:
    """Return samples, given those of the pictures before: with those that are of this picture."""
    here = {name: sampled(F, chosen[:, :2]) for name, F in picture.items()}
    if known is None:
        return here
    is_here = chosen[:, 2:] == number
    return {name: jnp.where(is_here, F, known[name]) for name, F in here.items()}


def _places(shape: Sequence[int], number: int) -> Array:
    """Return the middles of all pixels as shares, and the number of their picture, ``(height, width, 3)``."""
    rows, columns = ((jnp.arange(n) + 0.5) / n for n in shape[:2])
    return jnp.stack(jnp.meshgrid(rows, columns, jnp.float32([number]), indexing="ij"), -1)[:, :, 0]

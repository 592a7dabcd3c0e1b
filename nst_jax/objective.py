"""Targets and weights make one scalar function of the image: Gatys et al. (2016), equation (7).

Images are ``(height, width, 3)`` in the network's input space (see `vgg`). `Weights` and `Targets` are
pytrees whose leaves may be traced, batched and swept; layer names, pooling and convention are static.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax import vgg
from nst_jax.conventions import CONVENTIONS, ConventionName
from nst_jax.layers import canonical_layers
from nst_jax.losses import content_loss, gram_matrix, style_loss, total_variation
from nst_jax.vgg import Padding, Params, Pool

Terms = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Weights:
    """The scalars of the loss. Every leaf can be swept with ``jax.vmap``."""

    content: Array | float
    style: Array | float
    total_variation: Array | float
    content_layers: dict[str, Array | float]
    style_layers: dict[str, Array | float]


def make_weights(
    *,
    convention: ConventionName = "gatys2016",
    content: float | None = None,
    style: float | None = None,
    total_variation: float | None = None,
    content_layers: Sequence[str] | Mapping[str, float] = ("conv4_2",),
    style_layers: Sequence[str] | Mapping[str, float] = (
        "conv1_1",
        "conv2_1",
        "conv3_1",
        "conv4_1",
        "conv5_1",
    ),
) -> Weights:
    """Return weights; what is not given is the convention's own value.

    Args:
        convention: whose formula the numbers are meant for.
        content: alpha.
        style: beta.
        total_variation: weight of the smoothness term.
        content_layers: names, or names with their weights.
        style_layers: likewise; the w_l of equation (5).
    """
    rules = CONVENTIONS[convention]
    return Weights(
        content=rules.content_weight if content is None else content,
        style=rules.style_weight if style is None else style,
        total_variation=rules.total_variation if total_variation is None else total_variation,
        content_layers=_layer_weights(content_layers, share=rules.layers_share),
        style_layers=_layer_weights(style_layers, share=rules.layers_share),
    )


def _layer_weights(layers: Sequence[str] | Mapping[str, float], *, share: bool) -> dict[str, Array | float]:
    if isinstance(layers, Mapping):
        names = canonical_layers(layers)
        return dict(zip(names, layers.values(), strict=True))
    names = canonical_layers(layers)
    return dict.fromkeys(names, 1 / len(names) if share and names else 1.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Targets:
    """What the image is compared with: content features P and Gram matrices A of the style."""

    content: dict[str, Array]
    style: dict[str, Array]


def make_targets(
    params: Params,
    content: Array,
    style: Array,
    *,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
    pool: Pool = "avg",
    padding: Padding = "zero",
) -> Targets:
    """Return the targets of a content and a style image, both in the network's input space.

    The two images may have different sizes.
    """
    return Targets(
        content=content_targets(params, content, layers=content_layers, pool=pool, padding=padding),
        style=style_targets(params, style, layers=style_layers, pool=pool, padding=padding),
    )


def content_targets(
    params: Params, content: Array, *, layers: Sequence[str], pool: Pool = "avg", padding: Padding = "zero"
) -> dict[str, Array]:
    """Return the features P of equation (1), by layer."""
    return vgg.features(params, content, layers=layers, pool=pool, padding=padding) if layers else {}


def style_targets(
    params: Params, style: Array, *, layers: Sequence[str], pool: Pool = "avg", padding: Padding = "zero"
) -> dict[str, Array]:
    """Return the Gram matrices A of equation (4), by layer."""
    F = vgg.features(params, style, layers=layers, pool=pool, padding=padding) if layers else {}
    return {name: gram_matrix(F[name]) for name in F}


def loss(
    x: Array,
    params: Params,
    targets: Targets,
    weights: Weights,
    *,
    convention: ConventionName = "gatys2016",
    pool: Pool = "avg",
    padding: Padding = "zero",
) -> tuple[Array, Terms]:
    """Return the loss of an image and its weighted terms, which add up to it.

    L = alpha L_content + beta L_style (equation 7), with the factors of the convention.

    Args:
        x: image in the network's input space, of the content image's size.
        params: parameters of the network.
        targets: from `make_targets`.
        weights: from `make_weights`, of the same layers.
        convention: whose formula to use.
        pool: average or maximum pooling.
        padding: zero or replicate.

    Returns:
        The scalar loss, and a dict of its terms: ``content/LAYER``, ``style/LAYER``, ``total_variation``.
    """
    rules = CONVENTIONS[convention]
    layers = (*targets.content, *targets.style)
    F = vgg.features(params, x, layers=layers, pool=pool, padding=padding) if layers else {}
    terms: Terms = {}
    for name, P in targets.content.items():
        factor = rules.content_factor * (P.size if rules.content_sum else 1.0)
        terms[f"content/{name}"] = (
            weights.content * weights.content_layers[name] * factor * content_loss(F[name], P)
        )
    for name, A in targets.style.items():
        factor = rules.style_factor / (A.size if rules.style_per_channel else 1.0)
        S = style_loss(gram_matrix(F[name]), A)
        terms[f"style/{name}"] = weights.style * weights.style_layers[name] * factor * S
    variation = 0.5 if rules.variation_sum else 1.0 / x.size
    terms["total_variation"] = weights.total_variation * variation * total_variation(x)
    return jnp.asarray(sum(terms.values())), terms

"""Targets and weights make one scalar function of the image: Gatys et al. (2016), equation (7).

Images are ``(height, width, 3)`` in the network's input space (see `vgg`). `Weights` and `Targets` are
pytrees whose leaves may be traced, batched and swept; layer names, pooling and convention are static.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.config import StyleKind
from nst_jax.losses.conventions import CONVENTIONS, ConventionName
from nst_jax.losses.formulas import (
    content_loss,
    gram_matrix,
    guided_gram_matrices,
    style_loss,
    total_variation,
)
from nst_jax.losses.patches import BLOCK_BYTES, GAMMA, PatchStyle, Source, balance, nearest, patch_loss
from nst_jax.networks import strips, vgg
from nst_jax.networks.convolution import Engine, Padding
from nst_jax.networks.layers import block_and_index, canonical_layers
from nst_jax.networks.vgg import Params, Pool

Terms = dict[str, Array]

IN_STRIPS = 2
"""So many blocks are computed strip by strip if at all: deeper ones are small, and see too far."""

STRIP_POSITIONS = 2**16
"""About so many positions make a strip."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Weights:
    """The scalars of the loss. Every leaf can be swept with ``jax.vmap``."""

    content: Array | float
    style: Array | float
    total_variation: Array | float
    content_layers: dict[str, Array | float]
    style_layers: dict[str, Array | float]
    semantic: Array | float = GAMMA
    """Gamma of `patches`: how much maps count in the choice of patches."""


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
    semantic: float = GAMMA,
) -> Weights:
    """Return weights; what is not given is the convention's own value.

    Args:
        convention: whose formula the numbers are meant for.
        content: alpha.
        style: beta.
        total_variation: weight of the smoothness term.
        content_layers: names, or names with their weights.
        style_layers: likewise; the w_l of equation (5).
        semantic: gamma of Champandard (2016), for patches.
    """
    rules = CONVENTIONS[convention]
    return Weights(
        content=rules.content_weight if content is None else content,
        style=rules.style_weight if style is None else style,
        total_variation=rules.total_variation if total_variation is None else total_variation,
        content_layers=_layer_weights(content_layers, share=rules.layers_share),
        style_layers=_layer_weights(style_layers, share=rules.layers_share),
        semantic=semantic,
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
    """What the image is compared with: content features P, and A of the style, whatever its kind."""

    content: dict[str, Array]
    style: dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Guided:
    """Gram matrices of the style's regions, and where these are in the picture to be made."""

    grams: Array
    """``(regions, channels, channels)``"""
    guides: Array
    """``(height, width, regions)``"""
    shares: Array
    """Of each region in the loss, ``(regions,)``: equal for those that both pictures have, else zero."""


def make_targets(
    params: Params,
    content: Array,
    style: Array,
    *,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
    **options: Any,
) -> Targets:
    """Return the targets of a content and a style image, both in the network's input space.

    The two images may have different sizes. The options are those of `representations`.
    """
    return Targets(
        content=content_targets(params, content, layers=content_layers, **options),
        style=style_targets(params, style, layers=style_layers, **options),
    )


def content_targets(
    params: Params, content: Array, *, layers: Sequence[str], **options: Any
) -> dict[str, Array]:
    """Return the features P of equation (1), by layer; for the options see `representations`."""
    return representations(params, content, content_layers=layers, **options)[0]


def style_targets(params: Params, style: Array, *, layers: Sequence[str], **options: Any) -> dict[str, Array]:
    """Return the Gram matrices A of equation (4), by layer; for the options see `representations`."""
    return representations(params, style, style_layers=layers, **options)[1]


def patch_targets(
    features: Sequence[Mapping[str, Array]], maps: Sequence[Array], map_: Array
) -> dict[str, PatchStyle]:
    """Return what patches are compared with, by layer.

    Args:
        features: of the style, and perhaps of its copies: by layer.
        maps: of these, each of its image's height and width; without channels where there are none.
        map_: of the picture to be made, of its height and width.
    """
    found = {}
    for name in features[0]:
        scaled = [averaged(each, name) for each in (*maps, map_)]
        factor = balance(features[0][name], scaled[0])
        pairs = zip(features, scaled, strict=False)
        sources = tuple(Source(each[name], factor * small) for each, small in pairs)
        found[name] = PatchStyle(sources, factor * scaled[-1])
    return found


def guided_targets(features: Mapping[str, Array], style_map: Array, map_: Array) -> dict[str, Guided]:
    """Return the Gram matrices of each region, by layer; the maps are as in `patch_targets`."""
    found = {}
    for name, F in features.items():
        theirs, ours = averaged(style_map, name), averaged(map_, name)
        present = (jnp.max(theirs, (0, 1)) > 0) & (jnp.max(ours, (0, 1)) > 0)
        shares = present / jnp.maximum(1, jnp.sum(present))
        found[name] = Guided(guided_gram_matrices(F, theirs), ours, shares)
    return found


def matches(
    x: Array,
    params: Params,
    targets: Targets,
    weights: Weights,
    *,
    patch_size: int = 3,
    patch_bytes: int = BLOCK_BYTES,
    variety: float = 0.0,
    **options: Any,
) -> dict[str, tuple[Array, Array]]:
    """Return the nearest patches of an image by layer; the arguments are those of `loss`."""
    F, _ = representations(params, x, content_layers=tuple(targets.style), **options)
    how: Any = {"size": patch_size, "block_bytes": patch_bytes, "variety": variety}
    return {name: nearest(F[name], style, weights.semantic, **how) for name, style in targets.style.items()}


def averaged(map_: Array, layer: str) -> Array:
    """Return a map of an image's size, averaged down to a layer's as by average pooling."""
    for _ in range(block_and_index(layer)[0] - 1):
        map_ = vgg.pooled(map_, "avg")
    return map_


def representations(
    params: Params,
    x: Array,
    *,
    content_layers: Iterable[str] = (),
    style_layers: Iterable[str] = (),
    pool: Pool = "avg",
    padding: Padding = "zero",
    engine: Engine = "auto",
    recompute: int = 0,
    dtype: Any = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return what images are compared by: features F for content and Gram matrices G for style, by layer.

    Args:
        params: parameters of the network, best from `vgg.prepared`.
        x: image in the network's input space, ``(height, width, 3)``.
        content_layers: layers whose features are wanted.
        style_layers: layers whose Gram matrices are wanted.
        pool: average or maximum pooling.
        padding: zero or replicate.
        engine: of the convolutions, see `convolution`.
        recompute: so many blocks, from the first, keep nothing for the gradient but what goes into them, and
            are computed once more for it. The first `IN_STRIPS` of them are computed in strips of rows, if
            no features of theirs are wanted: then what is in them never exists as a whole.
        dtype: of the features, such as ``jnp.bfloat16``; None: that of x. Gram matrices and what is returned
            are of x's type. The parameters should be of it too.
    """
    kind, x = x.dtype, x if dtype is None else x.astype(dtype)
    blocks = vgg.blocks_of(params)
    known = vgg.architecture_of(params)
    content, style = (canonical_layers(layers, known) for layers in (content_layers, style_layers))
    deepest = max((block_and_index(name)[0] for name in (*content, *style)), default=0)
    F: dict[str, Array] = {}
    G: dict[str, Array] = {}
    for number in range(1, deepest + 1):
        here = [name for name in dict.fromkeys((*content, *style)) if block_and_index(name)[0] == number]
        handed_on = [f"pool{number}"] if number < deepest else []
        network = vgg.VGG(blocks, (*here, *handed_on), pool, padding, engine, number)
        block = partial(_block, network, params, content, style)
        rows = _strip_rows(x)
        whole = (
            padding != "zero" or number == deepest or rows >= x.shape[0] or not {*content}.isdisjoint(here)
        )
        if number <= min(recompute, IN_STRIPS) and not whole:
            halo = 2 * -(
                -blocks[number - 1][0] // 2
            )  # rows that its convolutions see, made even to be pooled
            run = partial(_strip, block, halo)
            height, width = x.shape[:2]
            x, sums = strips.recomputed(run, x, rows=rows, halo=halo, pool=2)
            G |= {name: total / (height * width) for name, total in sums.items()}
        else:
            x, features, grams = (jax.checkpoint(block) if number <= recompute else block)(x)
            F, G = F | features, G | grams
    return {name: F[name].astype(kind) for name in content}, {name: G[name].astype(kind) for name in style}


def _block(
    network: vgg.VGG,
    params: Params,
    content: Sequence[str],
    style: Sequence[str],
    x: Array,
    inside: Array | None = None,
    halo: int = 0,
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Return what a block hands on, and its features and Gram matrices, but for some rows at both ends."""
    found = cast(dict[str, Array], network.apply({"params": params}, x, inside))
    # Computed once: XLA on a CPU would do so for the Gram matrix and for the next layer, each on its own.
    found = jax.lax.optimization_barrier(found)  # type: ignore[no-untyped-call]
    cut = {name: F[halo : len(F) - halo] if halo else F for name, F in found.items()}
    features = {name: cut[name] for name in network.layers if name in content}
    grams = {name: gram_matrix(cut[name]) for name in network.layers if name in style}
    return found.get(f"pool{network.first}", x), features, grams


def _strip(
    block: Callable[..., tuple[Array, dict[str, Array], dict[str, Array]]],
    halo: int,
    x: Array,
    inside: Array,
) -> tuple[Array, dict[str, Array]]:
    """Return what a block hands on of a strip, and the strip's part of the sums of its Gram matrices."""
    y, _, grams = block(x, inside, halo)
    positions = (x.shape[0] - 2 * halo) * x.shape[1]
    return y[halo // 2 : len(y) - halo // 2], {name: G * positions for name, G in grams.items()}


def _strip_rows(x: Array) -> int:
    """Return the rows of a strip: even, and at least eight times what two strips share."""
    return int(2 * max(16, round(STRIP_POSITIONS / x.shape[1] / 2)))


def loss(
    x: Array,
    params: Params,
    targets: Targets,
    weights: Weights,
    *,
    convention: ConventionName = "gatys2016",
    kind: StyleKind = "gram",
    patch_size: int = 3,
    patch_bytes: int = BLOCK_BYTES,
    variety: float = 0.0,
    **options: Any,
) -> tuple[Array, Terms]:
    """Return the loss of an image and its weighted terms, which add up to it.

    L = alpha L_content + beta L_style (equation 7), with the factors of the convention.

    Args:
        x: image in the network's input space, of the content image's size.
        params: parameters of the network.
        targets: from `make_targets`; of patches from `patch_targets`, of regions from `guided_targets`.
        weights: from `make_weights`, of the same layers.
        convention: whose formula to use.
        kind: of the style's targets.
        patch_size: positions of a patch in each direction.
        patch_bytes: see `patches.nearest`.
        variety: likewise.
        options: those of `representations`: ``pool``, ``padding``, ``engine``, ...

    Returns:
        The scalar loss, and a dict of its terms: ``content/LAYER``, ``style/LAYER``, ``total_variation``.
    """
    rules = CONVENTIONS[convention]
    gram = kind == "gram"
    seen = (*targets.content, *(() if gram else targets.style))
    F, G = representations(
        params,
        x,
        content_layers=tuple(dict.fromkeys(seen)),
        style_layers=tuple(targets.style) if gram else (),
        **options,
    )
    terms: Terms = {}
    for name, P in targets.content.items():
        factor = rules.content_factor * (P.size if rules.content_sum else 1.0)
        terms[f"content/{name}"] = (
            weights.content * weights.content_layers[name] * factor * content_loss(F[name], P)
        )
    for name, A in targets.style.items():
        factor = rules.style_factor
        if kind == "patch":
            S = patch_loss(
                F[name], A, weights.semantic, size=patch_size, block_bytes=patch_bytes, variety=variety
            )
        else:
            factor /= (A if gram else A.grams[0]).size if rules.style_per_channel else 1.0
            S = style_loss(G[name], A) if gram else _guided_loss(F[name], A)
        terms[f"style/{name}"] = weights.style * weights.style_layers[name] * factor * S
    variation = 0.5 if rules.variation_sum else 1.0 / x.size
    terms["total_variation"] = weights.total_variation * variation * total_variation(x)
    return jnp.asarray(sum(terms.values())), terms


def _guided_loss(F: Array, style: Guided) -> Array:
    """Return the mean of `losses.style_loss` over the regions that both pictures have."""
    G = guided_gram_matrices(F, style.guides)
    return jnp.sum(style.shares * jax.vmap(style_loss)(G, style.grams))

"""Targets and weights make one scalar function of the image: Gatys et al. (2016), equation (7).

Images are ``(height, width, 3)`` in the network's input space (see `vgg`). `LossWeights` and `Targets` are
pytrees whose leaves may be traced, batched and swept. What a number means is static, and part of what holds
it: the convention of the weights, the term of the targets, the names of layers. So weights and targets that
do not belong together are an error.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.architecture import block_and_index, canonical_layers, stride
from nst_jax.errors import SettingError
from nst_jax.losses.content import content_distance, content_target
from nst_jax.losses.conventions import CONVENTIONS, Convention
from nst_jax.losses.gram import Gram
from nst_jax.losses.terms import INPUT, AdditiveTerm, Features, Guides, StyleTerm
from nst_jax.networks import pooling
from nst_jax.networks.vgg import Params
from nst_jax.settings import ContentKind, ConventionName, Layers
from nst_jax.transfer.seeing import SEEING, Seeing, numbers_in, seeing_style, seen, wraps
from nst_jax.typing import Tree

_GRAM = Gram()

Terms = dict[str, Array]
Weight = Array | float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LossWeights:
    """The scalars of the loss, and whose formula they are for. Every leaf can be swept with ``jax.vmap``."""

    content: Weight
    style: Weight
    total_variation: Weight
    content_layers: dict[str, Weight]
    style_layers: dict[str, Weight]
    convention: ConventionName = field(default="gatys2016", metadata={"static": True})


def loss_weights(
    *,
    convention: ConventionName = "gatys2016",
    content: Weight | None = None,
    style: Weight | None = None,
    total_variation: Weight | None = None,
    content_layers: Layers = ("conv4_2",),
    style_layers: Layers = _GRAM.layers,
    smoothness: float = 1.0,
) -> LossWeights:
    """Return weights; what is not given is the convention's own value.

    Args:
        convention: whose formula the numbers are meant for, see `conventions.CONVENTIONS`.
        content: alpha, as the others a number, or an array of numbers to be mapped over.
        style: beta.
        total_variation: weight of the smoothness term.
        content_layers: names, or names with their weights.
        style_layers: likewise; the w_l of equation (5).
        smoothness: see `StyleTerm.smoothness`.
    """
    if convention not in CONVENTIONS:
        raise SettingError.at("convention", f"should be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    rules = CONVENTIONS[convention]
    style = rules.style_weight if style is None else style
    smoothed = rules.total_variation + rules.smoothness * smoothness * style
    return LossWeights(
        content=rules.content_weight if content is None else content,
        style=style,
        total_variation=smoothed if total_variation is None else total_variation,
        content_layers=_layer_weights(content_layers, rules),
        style_layers=_layer_weights(style_layers, rules),
        convention=convention,
    )


def _layer_weights(layers: Layers, rules: Convention) -> dict[str, Weight]:
    names = canonical_layers(layers)
    if isinstance(layers, Mapping):
        return dict(zip(names, layers.values(), strict=True))
    return dict(rules.layer_weights(names))


class Kept(NamedTuple):
    """What of the picture is left alone."""

    mask: Array
    """1 where nothing is painted, ``(height, width, 1)``."""
    content: Array
    """What is there instead, in the network's input space."""


class Past(NamedTuple):
    """Earlier frames of a film, that a picture is to go on from."""

    images: Array
    """Warped to the present one, in the network's input space, ``(frames, height, width, 3)``."""
    trust: Array
    """c: 1 where what is seen was seen there too, 0 where it has just come to light; one channel."""
    weight: Array
    """Of the temporal term."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Targets:
    """What the image is compared with, by layer: what `content` makes of features P, and the style's term."""

    content: dict[str, Array]
    style: Tree
    term: StyleTerm = field(default=_GRAM, metadata={"static": True})
    content_kind: ContentKind = field(default="features", metadata={"static": True})
    kept: Kept | None = None
    past: Past | None = None
    content_size: tuple[int, int] | None = field(default=None, metadata={"static": True})
    """Height and width at which the image is compared with the content, if it is larger; see `shrunk`."""
    extent: Array | None = None
    """Height and width of the image, ``(2,)``, if it is at the top left of a canvas; see `seeing`."""

    @property
    def style_layers(self) -> tuple[str, ...]:
        """The layers that the style is compared at."""
        layers: Mapping[str, Tree] = self.style if isinstance(self.style, Mapping) else self.style.layers
        return tuple(layers)


def make_targets(
    params: Params,
    content: Array,
    style: Array,
    *,
    content_layers: Sequence[str] = ("conv4_2",),
    style_layers: Sequence[str] | None = None,
    term: StyleTerm = _GRAM,
    content_kind: ContentKind = "features",
    **seeing: Unpack[Seeing],
) -> Targets:
    """Return the targets of a content and a style image, both in the network's input space.

    The two images may have different sizes; there are no semantic maps. For the other options see `seen`; the
    style is looked at as `seeing_style` says.
    """
    layers = tuple(term.layers if style_layers is None else style_layers)
    content_size, style_size = content.shape[:2], style.shape[:2]
    guides = Guides((jnp.zeros((*style_size, 0)),), jnp.zeros((*content_size, 0)), jnp.ones(()))
    of_style = seeing_style(seeing)
    painting = term.condensed(seen(params, style, layers=layers, **of_style).features | {INPUT: style})
    query = None
    if term.likeness is not None:
        query = term.condensed(seen(params, content, layers=layers, **seeing).features | {INPUT: content})
    P = seen(params, content, layers=tuple(content_layers), **seeing).features
    return Targets(
        content={name: content_target(content_kind, each) for name, each in P.items()},
        style=style_targets(term, [painting], guides, query, layers=layers, wrap=wraps(seeing)),
        term=term,
        content_kind=content_kind,
    )


def style_targets(
    term: StyleTerm,
    features: Iterable[Features],
    guides: Guides,
    query: Features | None = None,
    *,
    layers: Sequence[str],
    wrap: bool = False,
) -> Tree:
    """Return what a term compares with, see `StyleTerm.all_targets`.

    Args:
        term: the term.
        features: of the style, and perhaps of copies of it: by layer, and `terms.INPUT`.
        guides: at the images' own heights and widths; maps without labels where there are none.
        query: features of what the picture shall be like, for a term that asks for it.
        layers: those of the features.
        wrap: whether the picture to be made is a torus.
    """
    found = {}
    for name in (*layers, INPUT):
        *style, content = _averaged((*guides.style, guides.content), name)
        where = None if guides.where is None else _averaged((guides.where,), name)[0]
        found[name] = Guides(
            style=tuple(style),
            content=_whole(content, term, wrap=wrap),
            weight=guides.weight,
            visible=_averaged(guides.visible, name),
            query=query[name] if query else None,
            shares=guides.shares,
            where=None if where is None else _whole(where, term, wrap=wrap),
        )
    return term.all_targets(features, found)


@partial(jax.jit, static_argnames="layer")
def _averaged(maps: Sequence[Array], layer: str) -> tuple[Array, ...]:
    return tuple(averaged(each, layer) for each in maps)


@partial(jax.jit, static_argnames="term")
def weighted_statistics(term: AdditiveTerm, F: Features, alpha: Array) -> dict[str, Tree]:
    """Return a term's statistics where positions count by an image's alpha, by layer."""
    return {name: term.weighted(each, averaged(alpha, name)) for name, each in F.items()}


def renewed(x: Array, params: Params, targets: Targets, **seeing: Unpack[Seeing]) -> Targets:
    """Return the targets for the evaluations to come, see `StyleTerm.renewed`."""
    x = composed(x, targets.kept)
    F = seen(params, x, layers=targets.style_layers, **seeing).features
    F = {name: _whole(each, targets.term, wrap=wraps(seeing)) for name, each in F.items()}
    return replace(targets, style=targets.term.all_renewed(F | {INPUT: x}, targets.style))


def composed(x: Array, kept: Kept | None) -> Array:
    """Return an image with what is left alone: m c + (1 - m) x for a mask m and the content c."""
    return x if kept is None else x + kept.mask * (kept.content - x)


def shrunk(x: Array, size: tuple[int, int]) -> Array:
    """Return an image at a smaller height and width, a mean over triangles: what it has at a distance."""
    found: Array = jax.image.resize(x, (*size, x.shape[2]), "linear")
    return found


def _whole(F: Array, term: StyleTerm, *, wrap: bool) -> Array:
    """Return the features of a picture as a term compares them.

    On a torus patches begin at every position: its first rows and columns follow once more upon its last.
    """
    more = (0, term.extent - 1)
    return jnp.pad(F, (more, more, (0, 0)), mode="wrap") if wrap and term.extent > 1 else F


def averaged(map_: Array, layer: str) -> Array:
    """Return a map of an image's size, averaged down to a layer's as by average pooling."""
    for _ in range(0 if layer == INPUT else block_and_index(layer)[0] - 1):
        map_ = pooling.pooled(map_, "avg")
    return map_


@partial(jax.jit, static_argnames=SEEING, inline=True)
def loss(
    x: Array, params: Params, targets: Targets, weights: LossWeights, **seeing: Unpack[Seeing]
) -> tuple[Array, Terms]:
    """Return the loss of an image and its weighted terms, which add up to it.

    L = alpha L_content + beta L_style (equation 7), with the factors of the weights' convention.

    Args:
        x: image in the network's input space, of the content image's size, or of its canvas's.
        params: parameters of the network.
        targets: from `make_targets`.
        weights: from `loss_weights`, of the same layers.
        seeing: ``pool``, ``padding``, ``engine``, ...: see `seen`.

    Returns:
        The scalar loss, and a dict of its terms: ``content/LAYER``, ``style/LAYER``, ``total_variation``, and
        of a film ``temporal``.

    Raises:
        SettingError: targets and weights are of different layers.
    """
    x = composed(x, targets.kept)
    _check_layers("content", targets.content, weights.content_layers)
    style_layers = targets.style_layers
    _check_layers("style", style_layers, weights.style_layers)
    rules, term = CONVENTIONS[weights.convention], targets.term
    additive = isinstance(term, AdditiveTerm)
    looking = {"term": term, "guides": term.guides(targets.style)} if isinstance(term, AdditiveTerm) else {}
    by_position, size, extent = targets.content_kind == "features", targets.content_size, targets.extent
    content, layers = (targets.content, ()) if by_position else ({}, tuple(targets.content))
    smaller = seen(params, shrunk(x, size), layers=layers, content=content, **seeing) if size else None
    found = seen(
        params,
        x,
        layers=(*(() if size else layers), *(() if additive else style_layers)),
        content={} if size else content,
        term_layers=style_layers if additive else (),
        variation=True,
        extent=extent,
        **looking,
        **seeing,
    )
    F, terms, compared = found.features, Terms(), smaller or found
    for name, P in targets.content.items():
        factor = rules.content_factor * (numbers_in(P, extent, stride(name)) if rules.content_sum else 1.0)
        if by_position:
            apart = compared.distances[name]
        else:
            apart = content_distance(targets.content_kind, compared.features[name], P)
        terms[f"content/{name}"] = weights.content * weights.content_layers[name] * factor * apart
    looked_at = (
        found.statistics
        if additive
        else {n: _whole(F[n], term, wrap=wraps(seeing)) for n in style_layers} | {INPUT: x}
    )
    per_channel = rules.style_per_channel
    distances = term.distances(looked_at, targets.style, weights.style_layers, per_channel=per_channel)
    for name, distance in distances.items():
        terms[f"style/{name}"] = weights.style * rules.style_factor * distance
    variation = 0.5 if rules.variation_sum else 1.0 / numbers_in(x, extent)
    terms["total_variation"] = weights.total_variation * variation * found.distances[INPUT]
    if targets.past is not None:
        terms["temporal"] = targets.past.weight * temporal_distance(x, targets.past)
    return jnp.asarray(sum(terms.values())), terms


def temporal_distance(x: Array, past: Past) -> Array:
    """Return how far an image is from earlier frames: 1/D sum_k c_k (x_k - w_k)^2 over all D numbers of it.

    Ruder, Dosovitskiy & Brox (2016), equation (7); summed over several frames, equation (8).
    """
    apart: Array = jnp.sum(past.trust * jnp.square(x[None] - past.images)) / x.size
    return apart


def _check_layers(name: str, targets: Collection[str], weights: Mapping[str, Weight]) -> None:
    if set(targets) != set(weights):
        have, want = (", ".join(layers) or "none" for layers in (targets, weights))
        raise SettingError.at(f"{name} layers", f"targets are of {have}, weights of {want}")

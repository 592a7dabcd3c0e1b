"""What a problem's picture is compared with: made of its content and its styles, once for each size."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax import images
from nst_jax.losses.content import content_target
from nst_jax.losses.terms import INPUT, AdditiveTerm, Features, Guides, StyleTerm, is_even, mean_of
from nst_jax.networks import vgg
from nst_jax.networks.convolution import quick
from nst_jax.transfer import objective, rows
from nst_jax.transfer.canvases import extent_on, put_on
from nst_jax.transfer.pictures import Image, Painting, Size
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.seeing import SEEING, Seen, seeing_style, seen
from nst_jax.typing import Tree


def targets_of(problem: Problem, params: vgg.Params) -> objective.Targets:
    """Return what a problem's image is compared with; ``params`` are `Problem.prepared`'s."""
    content, style = content_targets(problem, params), style_targets(problem, params)
    kind = problem.settings.content.kind
    size = problem.content_size
    return objective.Targets(
        content, style, problem.term, kind, kept(problem), past(problem), size, extent(problem)
    )


def extent(problem: Problem) -> Array | None:
    """Return the size of a problem's picture on its canvas."""
    return None if problem.canvas is None else jnp.asarray(extent_on(problem.content, problem.canvas))


def kept(problem: Problem) -> objective.Kept | None:
    """Return what of a problem's picture is left alone."""
    if problem.keep is None:
        return None
    return objective.Kept(jnp.asarray(problem.keep), vgg.to_input(problem.content))


def past(problem: Problem) -> objective.Past | None:
    """Return the earlier frames that a problem's picture is to go on from."""
    if problem.past is None:
        return None
    images, trust = vgg.to_input(problem.past.images), jnp.asarray(problem.past.trust)
    return objective.Past(images, trust, jnp.float32(problem.past.weight))


def content_targets(problem: Problem, params: vgg.Params) -> dict[str, Array]:
    """Return what a problem's content is compared by; its features wrap, or not, as the picture's do."""
    content: Image | Array = problem.content
    if problem.content_size:
        content = objective.shrunk(jnp.asarray(content), problem.content_size)
    layers = tuple(problem.weights.content_layers)
    P = _seen(problem, params, content, canvas=problem.canvas, layers=layers).features
    return {name: content_target(problem.settings.content.kind, each) for name, each in P.items()}


Each = Callable[[Callable[[], Tree], Painting], Tree]
"""Returns what a function makes of a style, or what it made of it before, whatever its share was."""


def style_targets(problem: Problem, params: vgg.Params, each: Each = lambda make, painting: make()) -> Tree:
    """Return what a problem's style is compared by: averages of all styles, or features of them all."""
    term = problem.term
    if is_even(term):
        found = [
            each(partial(_statistics, problem, term, params, painting), painting)
            for painting in problem.paintings
        ]
        shares = [np.float32(painting.share) for painting in problem.paintings]
        mean = _averaged(found, shares)
        return {name: term.target_of(each) for name, each in mean.items()}
    layers, query = tuple(problem.weights.style_layers), problem.query

    def looked_at(picture: Image | Array, *, of_style: bool = True) -> Features:
        return _seen(problem, params, picture, layers=layers, of_style=of_style, condensed=term).features

    every = [copy for painting in problem.paintings for copy in _copies(painting, term)]
    return objective.style_targets(
        term,
        (looked_at(copy.image) for copy in every),
        _guides(problem, every),
        None if query is None else looked_at(query, of_style=False),
        layers=layers,
        wrap=problem.wraps,
    )


def _guides(problem: Problem, every: list[Painting]) -> Guides:
    """Return the maps and shares of a problem, and of styles and copies of them, at their own sizes."""

    def array(image: Image | None, like: Image, channels: int = 0) -> Array:
        return jnp.full((*like.shape[:2], channels), 1.0) if image is None else jnp.asarray(image)

    some = any(painting.alpha is not None or painting.share < 1 for painting in problem.paintings)
    return Guides(
        style=tuple(array(each.map, each.image) for each in every),
        content=array(problem.content_map, problem.content),
        weight=jnp.float32(problem.settings.semantic.weight),
        visible=tuple(array(each.alpha, each.image, 1) for each in every) if some else (),
        shares=tuple(jnp.float32(each.share) for each in every) if some else (),
        where=None if problem.where is None else jnp.asarray(problem.where),
    )


def _statistics(
    problem: Problem, term: AdditiveTerm, params: vgg.Params, painting: Painting
) -> dict[str, Tree]:
    """Return an additive term's statistics of one style, by layer."""
    layers, look = tuple(problem.weights.style_layers), partial(_seen, problem, params, of_style=True)
    if painting.alpha is None:
        return look(painting.image, canvas=painting.canvas, term=term, term_layers=layers).statistics
    F = look(painting.image, layers=layers).features
    found: dict[str, Tree] = objective.weighted_statistics(term, F, painting.alpha)
    return found


def _copies(painting: Painting, term: StyleTerm) -> list[Painting]:
    """Return a style and the turned and scaled copies of it that a term wants."""

    def turned(turn: tuple[float, float]) -> Painting:
        image, alpha, map_ = (
            None if each is None else images.turned(each, *turn)
            for each in (painting.image, painting.alpha, painting.map)
        )
        assert image is not None
        return replace(painting, image=image, alpha=alpha, map=map_)

    return [painting, *map(turned, term.copies)]


_averaged = jax.jit(mean_of)


def _seen(
    problem: Problem,
    params: vgg.Params,
    image: Image | Array,
    *,
    of_style: bool = False,
    canvas: Size | None = None,
    **wanted: Any,
) -> Seen:
    if canvas is not None:
        whole = np.asarray(image)
        image, wanted = put_on(whole, canvas), wanted | {"extent": extent_on(whole, canvas)}
    seeing = seeing_style(problem.program.seeing) if of_style else problem.program.seeing
    if not seeing["recompute"]:  # once only: not worth the time that XLA's take to compile with Winograd
        seeing["engine"] = quick(seeing["engine"])
    if problem.program.is_by_rows:
        image = rows.placed(np.asarray(image), problem.program.devices)
    with problem.program.precisely():
        found: Seen = _look(params, image, **wanted, **seeing)
    return found


@partial(jax.jit, static_argnames=("condensed", "layers", "term", "term_layers", *SEEING))
def _look(params: vgg.Params, image: Image, *, condensed: StyleTerm | None = None, **options: Any) -> Seen:
    """Return `seeing.seen` of an image: of features what a term needs, so that the rest is never whole."""
    x = vgg.to_input(image)
    found: Seen = seen(params, x, **options)
    if condensed is None:
        return found
    return found._replace(features=dict(condensed.condensed(found.features | {INPUT: x})))

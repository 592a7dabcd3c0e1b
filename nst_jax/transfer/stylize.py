"""Style transfer in one call, for notebooks: one picture, or a grid of them.

Images are RGB, shape ``(height, width, 3)``: float in [0, 1], or uint8 for 0 to 255.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from nst_jax.errors import SettingError
from nst_jax.pretrained.network import Network, network_for
from nst_jax.settings import Settings
from nst_jax.transfer import batch, loop
from nst_jax.transfer.batch import GridProgress
from nst_jax.transfer.looks import Look, Result
from nst_jax.transfer.pictures import Image, Init, Maps, Pictures, Places, Styles, without
from nst_jax.transfer.plan import How, align
from nst_jax.transfer.problem import Problem, make_problem
from nst_jax.transfer.stretch import Batch

_DEFAULT, _HOW = Settings(), How()

EVERYDAY = {
    "size": "size",
    "evaluations": "solver.evaluations",
    "content_weight": "content.weight",
    "style_weight": "style.weight",
    "init": "init",
    "seed": "seed",
}
"""Settings that have a short name in Python."""

_COMMON = ("weights", "network", "loss.convention")
"""Settings that choose the network or what the weights mean: the same for all cells of a grid."""


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is: what the callback gets."""

    evaluations: int
    budget: int
    """Of all levels together, as are the evaluations."""
    loss: float
    terms: dict[str, float]
    seconds: float
    """Seconds since the optimisation began, compiling included."""
    rate: float
    """Evaluations per second lately."""
    picture: Callable[[], Image]
    """Fetches the best image so far, of the level's size."""
    level: int
    levels: int
    left: float | None
    """About how many seconds are left, if that is known."""


def progress_of(look: Look) -> Progress:
    """Return how far the run of a single picture is."""
    return Progress(
        evaluations=int(look.spent[0]),
        budget=look.total,
        loss=float(look.loss[0]),
        terms={name: float(term[0]) for name, term in look.terms.items()},
        seconds=look.seconds,
        rate=look.rate,
        picture=lambda: look.pictures()[0],
        level=look.level,
        levels=look.levels,
        left=look.left,
    )


def stylize(
    content: ArrayLike | None,
    style: Styles | None,
    settings: Settings = _DEFAULT,
    *,
    size: int | tuple[int, int] | None = None,
    evaluations: int | None = None,
    content_weight: float | None = None,
    style_weight: float | None = None,
    init: Init | None = None,
    seed: int | Array | None = None,
    network: str | Network | None = None,
    maps: Maps | Places | None = None,
    callback: Callable[[Progress], object] | None = None,
) -> Result:
    """Paint the content image in the style of another: minimise equation (7) of Gatys et al. (2016).

    Args:
        content: the photograph, ``(height, width, 3)``; the result has its size. None: the content map alone
            says what shall be where, and the result has its size; without one either, a texture of the style.
        style: the painting, of any size, or a tuple of several, by the shares of ``settings.style.shares``.
            None: a reconstruction of the content from its layers.
        settings: everything that can be set, see `settings.Settings`; files named in it are not read.
        size: ``settings.size``: bound of the content's longer side, in pixels; None: it keeps its size.
            Without a content, the longer side of the result, or its (width, height).
        evaluations: ``settings.solver.evaluations``: how often the loss and its gradient are computed.
        content_weight: ``settings.content.weight``: alpha.
        style_weight: ``settings.style.weight``: beta.
        init: first image: ``content``, ``style``, ``noise``, an image, or a blend: a mapping of these names
            (an image: ``image``) to their shares.
        seed: of the noise, an int or a JAX key.
        network: ``auto``, ``vgg19``, ``compact``, a file of weights, or a `Network` loaded before.
        maps: semantic maps of content and style, each ``(height, width, labels)`` in [0, 1], of its image's
            aspect ratio but any size; for style kinds that they guide. Or what is left alone, and where the
            style counts how much, see `pictures.Places`.
        callback: called now and then with a `Progress`; the run ends as interrupted if it returns True.

    Returns:
        The best image, with its loss and how the run ended.

    Raises:
        NstError: pictures or settings that cannot be used (these are ValueErrors too), or too little memory.
    """
    given = {
        "size": size,
        "evaluations": evaluations,
        "content_weight": content_weight,
        "style_weight": style_weight,
        "init": init if isinstance(init, str) else None,
    }
    settings = _changed(settings, {name: value for name, value in given.items() if value is not None})
    pictures = _pictures(content, style, maps, init)
    problem = _problem(pictures, settings, _network(settings, network), seed)
    watch = callback or (lambda progress: None)
    return loop.solve(Batch((problem,)), lambda look: watch(progress_of(look)))[0]


def stylize_grid(
    content: ArrayLike | None,
    style: Styles | None,
    axes: Mapping[str, Sequence[Any]],
    settings: Settings = _DEFAULT,
    *,
    network: str | Network | None = None,
    maps: Maps | Places | None = None,
    how: How = _HOW,
    callback: Callable[[GridProgress], object] = lambda progress: None,
) -> dict[tuple[Any, ...], Result]:
    """Paint one content image in one style at every point of a grid of settings.

    Args:
        content: the photograph, ``(height, width, 3)``; None for a doodle or texture, see `stylize`.
        style: the painting, of any size, or several, see `stylize`; None for reconstructions of the content.
        axes: dotted names of settings with their values, such as ``{"style.weight": [1e2, 1e3]}``, or the
            short names that `stylize` has for them; crossed.
        settings: of all cells.
        network: see `stylize`.
        maps: likewise.
        how: whether cells are batched or run on threads, and how many at once.
        callback: called now and then; the grid ends if it returns True, with the cells that are done.

    Returns:
        The result of each point, by its values in the order of the axes.

    Raises:
        NstError: a setting that is unknown or common to all cells; what `stylize` raises.
    """
    keys = [EVERYDAY.get(name, name) for name in axes]
    for key in keys:
        if key.startswith(_COMMON):
            raise SettingError.at(key, "is common to all cells of a grid; call stylize_grid for each value")
    if settings.solver.kind == "lbfgsb" or "lbfgsb" in axes.get("solver.kind", ()):
        what = "lbfgsb is for single runs: use lbfgs, or call stylize for each point"
        raise SettingError.at("solver.kind", what)
    found = _network(settings, network)
    points = list(itertools.product(*axes.values()))
    problems = []
    for point in points:
        values = dict(zip(axes, point, strict=True))
        first = values.pop("init", None)
        here = _changed(settings, values if not isinstance(first, str) else values | {"init": first})
        problems.append(_problem(_pictures(content, style, maps, first), here, found, None))
    results: dict[int, Result] = {}
    batch.run(
        dict(enumerate(align(problems))),
        done=lambda index, result, curve: results.__setitem__(index, result),
        how=how,
        watch=callback,
    )
    return {_hashable(points[index]): results[index] for index in sorted(results)}


def _changed(settings: Settings, values: Mapping[str, object]) -> Settings:
    """Return settings with other values, by their names or `EVERYDAY`'s; mistakes have the names given."""
    keys = {EVERYDAY.get(name, name): name for name in values}
    try:
        return settings.with_values({key: values[name] for key, name in keys.items()})
    except SettingError as error:
        raise SettingError(
            [((keys[".".join(map(str, key))],), text) for key, text in error.problems]
        ) from None


def _pictures(
    content: ArrayLike | None, style: Styles | None, maps: Maps | Places | None, init: object
) -> Pictures:
    places = maps if isinstance(maps, Places) else Places(maps=maps)
    content_map, style_map = places.maps or (None, None)
    first: Any = None if isinstance(init, str) else init
    return Pictures(content, style, content_map, style_map, first, places=places)


def _problem(pictures: Pictures, settings: Settings, network: Network, seed: int | Array | None) -> Problem:
    there = {"content": pictures.content is not None, "style": pictures.style is not None}
    return make_problem(pictures, without(settings, **there), network, seed=seed)


def _network(settings: Settings, network: str | Network | None) -> Network:
    return network_for(
        settings.weights if network is None else network,
        convention=settings.loss.convention,
        normalised=settings.network.normalised,
        pool=settings.network.pool,
        padding=settings.network.padding,
    )


def _hashable(point: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values as keys: lists as tuples, mappings as tuples of pairs, arrays as their bytes."""

    def key(value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple(value.items())
        if isinstance(value, np.ndarray):
            return value.tobytes()
        return tuple(value) if isinstance(value, list) else value

    return tuple(map(key, point))

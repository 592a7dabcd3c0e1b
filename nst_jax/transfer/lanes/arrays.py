"""A grid of settings on arrays, for notebooks: what `transfer.stylize` is for one picture."""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.typing import ArrayLike

from nst_jax.errors import NstError, did_you_mean
from nst_jax.pretrained.network import encoder_for
from nst_jax.transfer import lacking
from nst_jax.transfer.lanes.plan import Mode
from nst_jax.transfer.lanes.programs import align
from nst_jax.transfer.lanes.work import GridProgress, run
from nst_jax.transfer.loop import Result, stylize
from nst_jax.transfer.problem import fitted, prepare

_ONE = ("callback", "stops")
"""Options of a single run only."""

_COMMON = ("encoder", "normalised", "pool", "padding", "convention")
"""Options that all cells share: they choose the network or what the weights mean."""


def stylize_grid(
    content: ArrayLike | None,
    style: ArrayLike | None,
    axes: Mapping[str, Sequence[Any]],
    *,
    mode: Mode = "auto",
    max_parallel: int | None = None,
    callback: Callable[[GridProgress], object] | None = None,
    **options: Any,
) -> dict[tuple[Any, ...], Result]:
    """Paint one content image in one style at every point of a grid of settings.

    Args:
        content: the photograph, ``(height, width, 3)``; None for a doodle or texture, see `stylize`.
        style: the painting, of any size; None for reconstructions of the content.
        axes: names of options of `stylize` with their values, such as ``{"style_weight": [1e2, 1e3]}``;
            crossed.
        mode: ``vmap``: cells are lanes of one batched program; ``threads``: each is a run of its own; or
            ``auto``: threads on a CPU.
        max_parallel: cells at once; None: what fits in memory.
        callback: called now and then; the grid ends if it returns True, with the cells that are done.
        **options: other options of `stylize`, for all cells.

    Returns:
        The result of each point, by its values in the order of the axes.

    Raises:
        NstError: an option that is unknown or common to all cells; what `stylize` raises.
    """
    parameters = inspect.signature(stylize).parameters.values()
    settings = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _ONE}
    for name in (*axes, *options):
        if name not in settings:
            raise NstError(f"unknown option '{name}'{did_you_mean(name, settings)}; see stylize")
    for name in axes:
        if name in _COMMON:
            raise NstError(f"'{name}' is common to all cells of a grid; call stylize_grid for each value")
    settings |= options
    if "lbfgsb" in (settings["method"], *axes.get("method", ())):
        raise NstError("method lbfgsb is for single runs: use lbfgs, or call stylize for each point")
    common = {name: settings[name] for name in _COMMON}
    del settings["encoder"], settings["normalised"]
    encoder = encoder_for(**common)
    there = {"content": content is not None, "style": style is not None}
    texture = content is None and settings["content_map"] is None
    pairs: dict[Any, Any] = {}
    tasks, points = [], list(itertools.product(*axes.values()))
    for point in points:
        here = settings | dict(zip(axes, point, strict=True))
        here |= lacking.changes(**there, init=here["init"])
        key = (
            here.pop("size"),
            here.pop("style_scale"),
            lacking.fit_of(here.pop("style_fit"), texture=texture),
        )
        if key not in pairs:
            pair = lacking.completed(content, style, content_map=here["content_map"], size=key[0])
            pairs[key] = fitted(*pair, scale=key[1], fit=key[2])
        tasks.append(prepare(*pairs[key], params=encoder.params, **here))
    results: dict[int, Result] = {}
    run(
        dict(enumerate(align(tasks))),
        done=lambda index, result, curve: results.__setitem__(index, result),
        mode=mode,
        max_parallel=max_parallel,
        watch=callback,
    )
    return {_hashable(points[index]): results[index] for index in sorted(results)}


def _hashable(point: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values as keys: lists as tuples, mappings as tuples of pairs."""

    def key(value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple(value.items())
        return tuple(value) if isinstance(value, list) else value

    return tuple(map(key, point))

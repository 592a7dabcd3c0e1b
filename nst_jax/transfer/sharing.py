"""Problems on canvases: those of nearly equal size share one compiled program, see `canvases`.

The loss on a canvas and its gradient are those of the picture alone, to rounding, and what lies beyond the
picture has no gradient. So pixels go the way that they would go alone. With ``pyramid.variables: laplacian``
the bands are those of the canvas: coarse ones reach across the picture's edge, and the way differs a little,
as it does with moments that Adam carries from size to size. Results are of the picture's own size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.losses.terms import is_even
from nst_jax.settings import LONGEST
from nst_jax.transfer.canvases import MOST, PROGRAM, canvases
from nst_jax.transfer.pictures import Painting, Size, style_size
from nst_jax.transfer.problem import Problem, program_for

_MULTIPLE = 16
"""Of sides of canvases of paintings that keep their own aspect ratio: roundings of it shall not matter."""


def can_share(problem: Problem) -> bool:
    """Tell whether a problem's picture may lie on a canvas: all that it is compared by can be masked."""
    return next(_obstacles(problem), None) is None


def on_canvas(problem: Problem, canvas: Size) -> Problem:
    """Return a problem with its picture, and its styles, on canvases; it must be as `posed`, not made to fit.

    Args:
        problem: the problem.
        canvas: height and width, at least those of the picture.

    Raises:
        ImageError: the canvas is too small, or the problem cannot share one.
    """
    height, width = problem.content.shape[:2]
    if canvas[0] < height or canvas[1] < width:
        what = f"of {canvas[1]} x {canvas[0]} pixels cannot hold a picture of {width} x {height}"
        raise ImageError(f"a canvas {what}: use a larger one")
    for obstacle in _obstacles(problem):
        raise ImageError(f"a picture with {obstacle} cannot share a canvas: use its own size")
    return replace(
        problem,
        canvas=canvas,
        paintings=tuple(_on_canvas(painting, problem, canvas) for painting in problem.paintings),
        program=program_for(problem.settings, canvas),
    )


def on_canvases(problems: Sequence[Problem], *, most: int = MOST, price: float = PROGRAM) -> list[Problem]:
    """Return problems with those that can share on few canvases, see `canvases`; others are as they are.

    So are those that would be alone on theirs, or all of one size.
    """
    sharing = [i for i, problem in enumerate(problems) if can_share(problem)]
    sizes = [problems[i].size for i in sharing]
    found = list(problems)
    chosen = canvases(sizes, most=most, price=price)
    groups: dict[Size, set[Size]] = {}
    for size, canvas in zip(sizes, chosen, strict=True):
        groups.setdefault(canvas, set()).add(size)
    for i, canvas in zip(sharing, chosen, strict=True):
        if len(groups[canvas]) > 1:
            found[i] = on_canvas(problems[i], canvas)
    return found


def _obstacles(problem: Problem) -> Iterator[str]:
    """Give what of a problem needs the whole of an array to be its picture."""
    settings, term = problem.settings, problem.term
    padding, kind = settings.network.padding, settings.content.kind
    if padding != "zero":
        yield f"network.padding {padding}"
    if problem.where is not None or problem.keep is not None or problem.content_map is not None:
        yield "masks or maps"
    elif not (is_even(term) and term.ignores_zeros) or term.last:
        yield f"style.kind {settings.style.kind}"
    if any(painting.alpha is not None for painting in problem.paintings):
        yield "a style that is partly transparent"
    if kind != "features":
        yield f"content.kind {kind}"
    if problem.past is not None:
        yield "earlier frames of a film"
    if problem.content_size is not None:
        yield "a content that is enlarged"
    if settings.devices == "rows":
        yield "devices rows"


def _on_canvas(painting: Painting, problem: Problem, canvas: Size) -> Painting:
    """Return a painting on the canvas that all have whose pictures are on one, unless its size is its own."""
    style, own = problem.settings.style, (painting.image.shape[0], painting.image.shape[1])
    fit = style.fit or ("content" if problem.weights.content_layers else "own")
    if fit == "own":
        return painting
    size = images.fit(*canvas, LONGEST) if style.scale_with == "preview" else canvas
    height, width = style_size(own, size, style.scale, fit)
    if fit == "aspect":
        height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width))
    return replace(painting, canvas=(max(own[0], height), max(own[1], width)))

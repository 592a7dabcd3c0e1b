"""Coarse to fine: a problem at growing sizes, the last of them its own, and what goes on there.

Patches of a few positions see more of a small picture, so a run on patches begins with one (Li & Wand 2016,
Champandard 2016). Each level has its own optimiser and starts from the picture of the one before.

On a canvas (see `sharing`) a level's canvas is that of all pictures that share one; the content is resized by
itself and then put on it, and of the picture before what is its own is enlarged.
"""

from dataclasses import replace

import numpy as np

from nst_jax import images
from nst_jax.architecture import stride
from nst_jax.errors import ImageError
from nst_jax.settings import LONGEST
from nst_jax.transfer import variables
from nst_jax.transfer.pictures import Frames, Image, Painting, Size, own_size
from nst_jax.transfer.problem import Problem, bands_for, check_layers, history_for, program_for

AMPLE = 1024
"""Up to so many pixels of the longer side every level has all evaluations."""


def levels(problem: Problem) -> list[Problem]:
    """Return a problem at all its sizes, the coarsest first: images, maps and style are all resized.

    After the last size follow `StyleTerm.last` terms, at the same.

    Raises:
        ImageError: an image is too small for its layers at the coarsest level.
    """
    factor = problem.settings.pyramid.factor
    found = [_at(problem, factor**-step) for step in reversed(range(1, problem.levels))]
    found.append(replace(problem, levels=1))
    found = [replace(level, share=share) for level, share in zip(found, shares(problem), strict=True)]
    for number, level in enumerate(found, 1):
        try:
            check_layers(level)
        except ImageError as error:
            which = f"level {number} of {problem.levels}: " if problem.levels > 1 else ""
            raise ImageError(f"{which}{error}") from None
    return [*found, *(replace(found[-1], term=term) for term in problem.term.last)]


def shares(problem: Problem) -> list[float]:
    """Return how many times as many evaluations as at the first each level has, the coarsest first.

    At sizes above `AMPLE` that is less: strokes are there by then, and what is left is their detail.
    """
    longest, pyramid = max(problem.content.shape[:2]), problem.settings.pyramid
    sizes = [longest * pyramid.factor**-step for step in reversed(range(problem.levels))]
    return [1.0] + [pyramid.later if size > AMPLE else 1.0 for size in sizes[1:]]


def budget(problem: Problem) -> int:
    """Return the evaluations of all levels together, and of what follows."""
    every = shares(problem)
    every += every[-1:] * len(problem.term.last)
    return sum(replace(problem, share=share).evaluations for share in every)


def grown(image: Image, before: Problem, problem: Problem) -> Image:
    """Return what a level begins with: the picture of the level before, enlarged.

    What enlarging cannot know, the detail that the content has at this size only, is added where the run has
    a content: up(image) + content - up(content of the level before).
    """
    larger = at_size(image, problem)
    if not (problem.weights.content and sum(problem.weights.content_layers.values())):
        return larger
    detail: Image = np.clip(larger + problem.content - at_size(before.content, problem), 0, 1)
    return detail


def at_size(image: Image, problem: Problem) -> Image:
    """Return a picture of a coarser level, resampled to a problem's size; across the border if it wraps."""
    return images.resize(image, (problem.content.shape[0], problem.content.shape[1]), wrap=problem.wraps)


def _at(problem: Problem, share: float) -> Problem:
    def scaled(image: Image, share: float, multiple: int = 1) -> Image:
        height, width = (max(1, round(side * share / multiple)) * multiple for side in image.shape[:2])
        return images.resize(image, (height, width))

    of_style = of_canvas = share
    if problem.settings.style.scale_with == "preview":  # the painting has the size that goes with one
        of_style, of_canvas = (
            min(1.0, share * max(LONGEST, *size) / LONGEST)
            for size in (problem.content.shape[:2], problem.size)
        )

    def guide(map_: Image | None, image: Image) -> Image | None:
        return None if map_ is None else images.resize_map(map_, (image.shape[0], image.shape[1]))

    def painted(painting: Painting) -> Painting:
        image = scaled(painting.image, of_style)
        return replace(
            painting,
            image=image,
            alpha=guide(painting.alpha, image),
            map=guide(painting.map, image),
            canvas=_canvas_at(painting.canvas, of_canvas),
        )

    content = scaled(problem.content, share, stride(problem.deepest) if problem.wraps else 1)
    canvas = _canvas_at(problem.canvas, share)
    size = canvas or (content.shape[0], content.shape[1])
    program = replace(problem.program, bands=bands_for(problem.settings, size))
    if problem.settings.devices == "rows":  # small sizes may be for one of them
        program = program_for(problem.settings, size)
    elif "history" in problem.open:
        history = history_for(variables.nbytes(program.bands, size))
        program = replace(program, solver=replace(program.solver, history=history))
    return replace(
        problem,
        content=content,
        paintings=tuple(map(painted, problem.paintings)),
        content_map=guide(problem.content_map, content),
        where=guide(problem.where, content),
        keep=guide(problem.keep, content),
        past=None if problem.past is None else _past_at(problem.past, content),
        program=program,
        content_size=own_size(problem.content_size, content) if problem.content_size else None,
        canvas=canvas,
        levels=1,
    )


def _canvas_at(canvas: Size | None, share: float) -> Size | None:
    """Return a level's canvas: it holds all pictures of that level whose own canvas is the same."""
    if canvas is None:
        return None
    height, width = (max(1, round(side * share)) for side in canvas)
    return height, width


def _past_at(past: Frames, content: Image) -> Frames:
    """Return the earlier frames of a film at a level's size."""
    size = content.shape[0], content.shape[1]
    images_ = np.stack([images.resize(image, size) for image in past.images])
    return replace(past, images=images_, trust=np.stack([images.resize_map(c, size) for c in past.trust]))

"""Runs that lack a picture, by the same objective with a zero weight for the rest.

Without a content: texture synthesis, or style reconstruction (Gatys et al. 2016, Fig. 1, above), and doodles
(Champandard 2016), which have a map instead. Without a style: content reconstruction (Fig. 1, below).
A picture that is not there still needs a size; here is what stands for it, and what follows for the options.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.config import LONGEST
from nst_jax.errors import NstError

Size = tuple[int, int]


def completed(
    content: Any,
    style: Any,
    *,
    content_map: Any = None,
    size: Size | None = None,
) -> tuple[Any, Any]:
    """Return both pictures, with a stand-in for the one that is None: for its size only.

    Args:
        content: ``(height, width, 3)``. Where it is None, a grey picture has the size that is given, or the
            map's, or the style's (at most `config.LONGEST` pixels on its longer side).
        style: of any size. Where it is None, the content stands for it.
        content_map: of a doodle, ``(height, width, labels)``.
        size: height and width of the result where there is no content.

    Raises:
        NstError: there is neither picture, or there is a size and a content.
    """
    if content is not None:
        if size is not None:
            raise NstError(f"size {size} is for a picture without content; with one, resize the content")
        return content, content if style is None else style
    if style is None:
        raise NstError("there is neither a content image nor a style image")
    if size is None:
        size = _shape(style) if content_map is None else _shape(content_map)
        size = images.fit(*size, LONGEST) if content_map is None else size
    return images.canvas(*size), style


def texture_size(style: Size, longest: int | None) -> Size:
    """Return the size of a texture: the style's, or of its aspect ratio with so many pixels on its side."""
    if longest is None:
        return images.fit(*style, LONGEST)
    height, width = (max(1, round(side * longest / max(style))) for side in style)
    return height, width


def changes(*, content: bool, style: bool, init: Any) -> dict[str, Any]:
    """Return the options of `tasks.prepare` that are otherwise, given which pictures there are.

    The first image is noise where it would be a picture that is not there, or, without a style, the solution.

    Raises:
        NstError: the run begins with a style that is not there.
    """
    found: dict[str, Any] = {}
    if not content:
        found |= {"content_weight": 0.0, "content_layers": ()}
    if not style:
        found |= {"style_weight": 0.0, "style_layers": ()}
    if found and isinstance(init, str) and init == "content":
        found["init"] = "noise"
    if not style and isinstance(init, str) and init == "style":
        raise NstError("init is 'style', and there is no style image: use content, noise or a file")
    return found


def fit_of(fit: str | None, *, texture: bool) -> str:
    """Return how a style is sized, see `tasks.style_size`: as told, or as suits the kind of run."""
    return fit or ("own" if texture else "content")


def _shape(picture: Any) -> Size:
    array: NDArray[Any] = np.asarray(picture)
    if array.ndim != 3 or 0 in array.shape:
        raise NstError(f"a picture has shape (height, width, channels), not {array.shape}")
    return array.shape[0], array.shape[1]

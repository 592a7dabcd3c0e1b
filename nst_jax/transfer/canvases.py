"""Canvases: pictures of nearly equal size, each at the top left of a larger array, share a compiled program.

What lies beyond a picture is masked in the program, see `seeing`, and its size is an argument. So a picture
costs the work of its canvas, and a program more is only worth its price where canvases would be much larger
than what is on them. There is no JAX here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nst_jax.transfer.pictures import Image, Size

MOST = 4
"""Canvases, unless told otherwise."""

PROGRAM = 29_000
"""What a program more is worth, as so many pixels of a run of 150 evaluations at each size: to compile one
takes as long as to paint these, with the compact network on two cores (benchmarks/canvases.py)."""

_Groups = list[list[int]]
_Area = Callable[[Sequence[int]], int]


def canvases(sizes: Sequence[Size], *, most: int = MOST, price: float = PROGRAM) -> list[Size]:
    """Return a canvas for each of some sizes: few of them, and little larger than what is put on them.

    What is kept small is the area of all canvases, each counted for every picture on it, and a price for each
    program. From one canvas for each size on, the two are joined that it costs least, and sizes go over to
    where they cost less: a good division, though not always the best.

    Args:
        sizes: heights and widths of pictures; equal ones get the same canvas.
        most: at most so many canvases.
        price: of one more, in pixels.

    Returns:
        For each size the least height and width that hold all of its group; its own, if it is alone.
    """
    if most < 1:
        raise ValueError(f"there should be at least 1 canvas, got {most}")
    known = sorted(set(sizes))
    counts = [sizes.count(size) for size in known]

    def area(group: Sequence[int]) -> int:
        height, width = _around([known[i] for i in group])
        return height * width * sum(counts[i] for i in group)

    groups: _Groups = [[i] for i in range(len(known))]
    found, least = groups, float("inf")
    while groups:
        if len(groups) <= most:
            moved = _moved(groups, area)
            cost = sum(map(area, moved)) + price * len(moved)
            if cost < least:
                found, least = moved, cost
        groups = _joined(groups, area)
    canvas = {known[i]: _around([known[j] for j in group]) for group in found for i in group}
    return [canvas[size] for size in sizes]


def _around(sizes: Sequence[Size]) -> Size:
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)


def _joined(groups: _Groups, area: _Area) -> _Groups:
    """Return groups with two made one, those that it costs least; none if there is but one."""
    pairs = [(a, b) for i, a in enumerate(groups) for b in groups[:i]]
    if not pairs:
        return []
    a, b = min(pairs, key=lambda pair: area(pair[0] + pair[1]) - area(pair[0]) - area(pair[1]))
    return [*(group for group in groups if group is not a and group is not b), a + b]


def _moved(groups: _Groups, area: _Area) -> _Groups:
    """Return groups with single sizes moved to others while the areas of all get less; none gets empty."""
    groups = [list(group) for group in groups]
    is_better = True
    while is_better:
        is_better = False
        for here in groups:
            for each in tuple(here):
                rest = [other for other in here if other != each]
                if not rest:
                    continue
                freed = area(here) - area(rest)
                others = [group for group in groups if group is not here]
                costs = [area([*group, each]) - area(group) for group in others]
                if others and min(costs) < freed:
                    others[int(np.argmin(costs))].append(each)
                    here.remove(each)
                    is_better = True
    return groups


def put_on(image: Image, canvas: Size | None) -> Image:
    """Return an image at the top left of a canvas, its edge repeated beyond it; None: the image itself.

    Nothing of that counts; but bands of a Laplacian pyramid reach across the edge, and there nothing odd is.
    """
    if canvas is None:
        return image
    down, across = (side - own for side, own in zip(canvas, image.shape, strict=False))
    if min(down, across) < 0:
        what = f"of {canvas[1]} x {canvas[0]} cannot hold a picture of {image.shape[1]} x {image.shape[0]}"
        raise ValueError(f"a canvas {what}")
    return np.pad(image, ((0, down), (0, across), (0, 0)), mode="edge")


def extent_on(image: Image, canvas: Size | None) -> NDArray[np.int32] | None:
    """Return the height and width of an image on a canvas, as programs take them; None without one."""
    return None if canvas is None else np.asarray(image.shape[:2], np.int32)

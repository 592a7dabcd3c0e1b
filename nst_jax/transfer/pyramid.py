"""Coarse to fine: a task at growing sizes, the last of them its own.

Patches of a few positions see more of a small picture, so a run on patches begins with one (Li & Wand 2016,
Champandard 2016). Each level has its own optimiser and starts from the picture of the one before.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.transfer import problem as tasks
from nst_jax.transfer.problem import Task


def levels(task: Task) -> list[Task]:
    """Return a task at all its sizes, the coarsest first: images, maps and style are all resized.

    Raises:
        ImageError: an image is too small for its layers at the coarsest level.
    """
    found = [_at(task, task.factor**-step) if step else task for step in reversed(range(task.levels))]
    for number, level in enumerate(found, 1):
        try:
            tasks.check_layers(level)
        except ImageError as error:
            which = f"level {number} of {task.levels}: " if task.levels > 1 else ""
            raise ImageError(f"{which}{error}") from None
    return found


def grown(image: NDArray[np.float32], before: Task, task: Task) -> NDArray[np.float32]:
    """Return what a level begins with: the picture of the level before, enlarged.

    What enlarging cannot know, the detail that the content has at this size only, is added where the run has
    a content: up(image) + content - up(content of the level before).
    """
    size = (task.content.shape[0], task.content.shape[1])
    larger = images.resize(image, size)
    if not (task.weights.content and sum(task.weights.content_layers.values())):
        return larger
    detail: NDArray[np.float32] = np.clip(larger + task.content - images.resize(before.content, size), 0, 1)
    return detail


def _at(task: Task, share: float) -> Task:
    def scaled(image: NDArray[np.float32]) -> tuple[int, int]:
        return max(1, round(image.shape[0] * share)), max(1, round(image.shape[1] * share))

    content, style = (images.resize(image, scaled(image)) for image in (task.content, task.style))
    maps: dict[str, Any] = {
        name: None if given is None else images.resize_map(given, image.shape[:2])
        for name, given, image in (
            ("content_map", task.content_map, content),
            ("style_map", task.style_map, style),
        )
    }
    history = tasks.history_for(content.nbytes) if "history" in task.open else task.program.history
    program = replace(task.program, history=history)
    return replace(task, content=content, style=style, program=program, levels=1, **maps)

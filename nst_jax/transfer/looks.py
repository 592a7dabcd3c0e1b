"""What the loop shows of a batch while it runs, what a watcher may want otherwise, and what a run gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.solvers.state import Status
from nst_jax.transfer.pictures import Image
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.pyramid import at_size

Images = NDArray[np.float32] | list[Image]
"""Of the problems of a batch, ``(problems, height, width, 3)``; a list of those that have several sizes."""


def together(images: Sequence[Image]) -> Images:
    """Return pictures as one array, or if their sizes differ, as they do on a canvas, as a list."""
    same = len({image.shape for image in images}) == 1
    return np.stack(images) if same else list(images)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The best images at a look, on the host: they stay, and may be shown on any thread."""

    raw: Images
    """As they are optimised, of the level's size."""
    problems: tuple[Problem, ...]
    """At this level."""
    whole: tuple[Problem, ...]
    """The same at their own size."""

    def pictures(self) -> Images:
        """Return them as they are shown: in the colours that they shall have."""
        pairs = zip(self.raw, self.problems, strict=True)
        return together([problem.shown(image) for image, problem in pairs])

    def finished(self) -> list[Image]:
        """Return them at their own size, as the run would give them if it ended here."""
        pairs = zip(self.raw, self.whole, strict=True)
        return [problem.shown(at_size(image, problem)) for image, problem in pairs]


@dataclass(frozen=True, eq=False)
class Look:
    """How far a batch is, between two chunks of steps: arrays with an entry for each problem."""

    evaluations: NDArray[np.int32]
    """At this level."""
    status: NDArray[np.int32]
    loss: NDArray[np.float32]
    terms: dict[str, NDArray[np.float32]]
    initial_loss: NDArray[np.float32]
    """The first at this level, or since the last `Turn`."""
    rate: float
    """Evaluations per second lately; 0 if not known yet."""
    seconds: float
    """Since the optimisation began, without those of watchers."""
    budget: int
    """Evaluations at this level."""
    total: int
    """Evaluations at all levels."""
    before: int
    """Evaluations at the levels before."""
    level: int
    levels: int
    left: float | None
    """About how many seconds are left, if that is known."""
    snapshot: Callable[[], Snapshot]
    """Fetches the best images so far. Only while the look is being watched: later they are gone."""

    @property
    def spent(self) -> NDArray[np.int32]:
        """Evaluations at all levels so far."""
        return self.before + self.evaluations

    def raw(self) -> Images:
        """Fetch the best images so far, see `Snapshot.raw`."""
        return self.snapshot().raw

    def pictures(self) -> Images:
        """Fetch the best images so far, see `Snapshot.pictures`."""
        return self.snapshot().pictures()


@dataclass(frozen=True, eq=False)
class Turn:
    """What a watcher wants otherwise from here on; for a single problem.

    The solver begins anew, for its memory is of another objective, with what is left of the level's
    evaluations.
    """

    problem: Problem
    """At its own size."""
    image: Image | None = None
    """What to go on with, of any level's size; None: the best image so far."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gives. ``image`` is the best seen, whatever the status."""

    image: Image
    loss: float
    terms: dict[str, float]
    initial_loss: float
    evaluations: int
    status: Status
    seconds: float

    @property
    def sentence(self) -> str:
        """Say how the run ended."""
        count = f"{self.evaluations} evaluations"
        return {
            "running": "the run is under way",
            "finished": f"finished after {count}",
            "stalled": f"stalled after {count}: even short steps no longer lower the loss",
            "not finite": f"stopped after {count}: the loss or its gradient is no finite number; "
            "this is the last good image",
            "interrupted": f"interrupted after {count}",
        }[self.status]

    def _repr_png_(self) -> bytes:
        """Return the picture as notebooks show it."""
        return images.encode("result.png", self.image)

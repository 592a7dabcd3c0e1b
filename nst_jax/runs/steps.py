"""The film of how a picture came about: a frame now and then, more of them where most happens, at first.

Frames are in the run's workshop while it works, small and as they were painted, so that a run that was
interrupted goes on with them; in the end they are enlarged, one after the other, and joined.
"""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import images
from nst_jax.films import opened as films
from nst_jax.films.film import Frame
from nst_jax.images import FloatArray
from nst_jax.runs.run_folder import Workshop

if TYPE_CHECKING:
    from nst_jax.transfer.looks import Look

FRAMES = 120
"""About how many there are, of all levels together."""

RATE = 24
"""Frames per second; the picture itself is shown for one more second."""

LONGEST = 2048
"""The longer side of a film is at most this: larger ones are not played everywhere."""


def film_of(output: Path) -> Path:
    """Return where the film of a picture goes."""
    return output.with_suffix(".mp4")


def check(film: Path) -> None:
    """Refuse a film that could not be made, before any work.

    Raises:
        FilmError: with what is missing.
    """
    films.check_output(film, "h264")


def spaced(budget: int, frames: int) -> tuple[int, ...]:
    """Return after which of so many evaluations there is a frame: the first, the last, and some between.

    Each is about the same factor after the one before.
    """
    found = [1]
    for left in range(min(frames, budget) - 1, 0, -1):
        last = found[-1]
        found.append(max(last + 1, round(last * (budget / last) ** (1 / left))))
    return tuple(found)


class Steps:
    """The frames of a run.

    Args:
        workshop: of the run.
        every: evaluations at whose multiples there is a look for another reason; 0: there is none.
    """

    def __init__(self, workshop: Workshop, every: int) -> None:
        self.workshop, self.every = workshop, every
        self._last: int | None = None
        """The evaluations of the last frame; None: not known yet."""
        self._due: Sequence[int] = ()
        """Those after which there are frames at this level."""

    def stop(self, evaluations: int) -> int:
        """Return after how many evaluations there is to be a look next; of a new level after the first."""
        due = [each for each in self._due if each > evaluations]
        if self.every:
            due.append((evaluations // self.every + 1) * self.every)
        return min(due, default=evaluations + 1)

    def take(self, look: "Look") -> None:
        """Keep a frame if one is due."""
        from nst_jax.solvers.state import RUNNING  # late: it imports JAX

        if self._last is None:
            self._last = max(self.workshop.frames(), default=0)
        spent, last = int(look.spent[0]), self._last
        self._due = [look.before + each for each in spaced(look.budget, max(2, FRAMES // look.levels))]
        has_ended = look.status[0] != RUNNING
        if spent > last and (has_ended or any(last < each <= spent for each in self._due)):
            frame = images.bounded(look.pictures()[0], LONGEST)
            name = f"frame_{spent:06d}.jpg"
            self.workshop.draw(name, lambda path: images.write(path, frame, quality=95))
            self._last = spent

    def joined(self, film: Path, picture: FloatArray) -> int:
        """Make the film of the frames, with the picture at its end, and return how many there are.

        Raises:
            FilmError: it cannot be written; the frames are there still.
        """
        last = images.to_levels(_even(images.bounded(picture, LONGEST)))
        size, count = (last.shape[0], last.shape[1]), 0
        with films.writing(film, size, Fraction(RATE)) as write:
            for frame in itertools.chain(self._read(size), [last] * RATE):
                write(frame)
                count += 1
        return count

    def _read(self, size: tuple[int, int]) -> Iterator[Frame]:
        """Give the frames at the film's size."""
        for path in self.workshop.frames().values():
            yield images.to_levels(images.resize(images.read(path).rgb, size))


def _even(image: FloatArray) -> FloatArray:
    """Return a picture without the last row or column of an odd number, which some players would not show."""
    height, width = image.shape[:2]
    return image[: max(1, height - height % 2), : max(1, width - width % 2)]

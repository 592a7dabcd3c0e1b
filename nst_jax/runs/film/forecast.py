"""What a film will take of time, memory and disk: a few evaluations and the motion of one frame are timed."""

import contextlib
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nst_jax.films import opened as films
from nst_jax.motion.flow import METHODS
from nst_jax.runs import frames, inputs
from nst_jax.runs.film import check, copies_of
from nst_jax.runs.film.following import contents, motion_by
from nst_jax.runs.film.painter import Painter
from nst_jax.runs.forecast import timed
from nst_jax.settings import Settings


@dataclass(frozen=True)
class Forecast:
    """What a film takes."""

    width: int
    height: int
    """At which frames are painted."""
    frames: int | None
    first: float
    """Seconds for a frame that follows nothing, without compiling."""
    later: float
    """Seconds for each of the other frames that are painted, and those before it that are not."""
    every: int
    passes: int
    memory: str
    """A table."""

    @property
    def seconds(self) -> float | None:
        """Of all, if there is no cut; None: it is not known how many frames there are."""
        if self.frames is None:
            return None
        following = -(-(self.frames - 1) // self.every) + (self.passes - 1) * self.frames
        return self.first + following * self.later

    @property
    def disk(self) -> int | None:
        """Bytes that frames take at most until the film is made of them."""
        pixels = self.width * self.height
        return None if self.frames is None else 3 * pixels * self.frames * copies_of(self.passes)


def forecast(
    settings: Settings, source: Path, *, say: inputs.Say = print, download: inputs.Download | None = None
) -> Forecast:
    """Return what a film will take; some evaluations of its second frame are computed.

    Raises:
        NstError: what `film.run` refuses, but for its output.
    """
    from nst_jax.transfer import memory

    check(settings)
    film, motion = films.opened(source, rate=frames.rate_of(settings)), motion_by(settings.film.flow)
    painter = Painter(settings, inputs.network(settings, download, say=say))
    with contextlib.closing(contents(film, painter.settings)) as read:
        two = [content for _, content in itertools.islice(read, 2)]
    earlier, content = two[0], two[-1]  # a film of one frame shows it twice
    begun = time.perf_counter()
    if settings.film.flow in METHODS:
        motion((1, earlier), (2, content))
    moving = (time.perf_counter() - begun) * len(settings.film.back)
    past = [(content, np.ones(content.shape[:2], np.float32))]
    wanted = painter.later.solver.evaluations

    def work(evaluations: int) -> int:
        painter.later = painter.later.with_values({"solver.evaluations": evaluations})
        painter.painted(content, past)
        return evaluations

    pace = timed(work)
    later = pace.besides + wanted * pace.evaluation
    whole = painter.posed(content, [], painter.settings)
    sizes = sum(settings.pyramid.factor ** (-2 * level) for level in range(whole.levels))
    return Forecast(
        width=content.shape[1],
        height=content.shape[0],
        frames=film.frames,
        first=whole.levels * pace.besides + sizes * whole.evaluations * pace.evaluation,
        later=max(later, settings.film.every * moving),  # one beside the other
        every=settings.film.every,
        passes=settings.film.passes,
        memory=memory.table(*memory.fit(painter.posed(content, past, painter.later, content))),
    )

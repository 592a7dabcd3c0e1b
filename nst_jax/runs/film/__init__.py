"""A film: every frame is painted, going on from the one before, which is moved along with what is seen.

Ruder, Dosovitskiy & Brox, "Artistic style transfer for videos" (2016): frames begin with the one before,
warped, are held to it by a temporal loss, or to several of them (long-term consistency), and may be gone
through several times in alternating directions (their multi-pass algorithm). Keyframes are not in the paper:
frames between them are not painted, but made of both, moved to where things are.
"""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nst_jax.errors import ConfigError
from nst_jax.films import opened as films
from nst_jax.films.film import Film
from nst_jax.images import FloatArray
from nst_jax.motion.between import blended
from nst_jax.motion.warp import warped
from nst_jax.runs import frames, inputs, records
from nst_jax.runs.film.following import (
    Contents,
    Motion,
    Moved,
    Tie,
    contents,
    following,
    from_first,
    from_last,
    motion_by,
    segments,
)
from nst_jax.runs.film.painter import Painter
from nst_jax.runs.frames import Outcome, Progress
from nst_jax.settings import Settings
from nst_jax.transfer.pictures import bounded_size
from nst_jax.typing import Json

_BLEND = 0.5
"""delta of Ruder et al.: how much of a frame of a later pass begins as the one beside it, moved."""


def run(
    settings: Settings,
    source: Path,
    output: Path,
    *,
    callback: Callable[[Progress], object] = lambda progress: None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
) -> Outcome:
    """Paint a film.

    Args:
        settings: of each frame, and ``film``; they name no content.
        source: the film.
        output: the new one; its sound is the old one's.
        callback: called after every frame; the work stops if it returns True, and the same call goes on.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: a film or painting that cannot be read, settings that are not for films, a place that cannot
            be written.
    """
    begun = time.perf_counter()
    film, motion = _ready(settings, source, output)
    folder, passes = frames.folder_of(output), settings.film.passes
    with frames.claimed(folder, output):
        painter = Painter(settings, inputs.network(settings, download, say=say))
        work = _Work(settings, film, folder, painter, motion, say)
        size = bounded_size((film.height, film.width), painter.settings)
        films.check_room(folder, film.frames, size, copies=copies_of(passes))
        if settings.colour != "style":
            with contextlib.closing(contents(film, painter.settings)) as read:
                painter.fix_colours(next(read)[1])
        clock = _Clock(passes * film.frames if film.frames else None)
        for number in range(1, passes + 1):
            for painted in _pass(work, number):
                progress = clock.progress(painted, (number - 1) * (work.count or 0))
                if callback(progress) is True:
                    return Outcome(output, progress.frame, time.perf_counter() - begun, True)
        last = work.folder_of(passes)
        every = range(1, work.count + 1)
        options: dict[str, Json] = {"codec": settings.film.codec, "quality": settings.film.quality}
        options |= {"sound": film.path if film.kind == "film" else None, "aspect": film.aspect}
        options |= {"source": film}
        frames.joined(last, every, output, film.rate, say=say, **options)
        frames.finish(folder, every, film.rate, within=last)
    return Outcome(output, work.count, time.perf_counter() - begun, False)


def _ready(settings: Settings, source: Path, output: Path) -> tuple[Film, Motion]:
    """Refuse what cannot be done before any work."""
    check(settings)
    styles = [Path(name) for name in inputs.styles_of(settings) if inputs.sample_of(name) is None]
    frames.check_output(output, settings, [source, *styles])
    film = films.opened(source, rate=frames.rate_of(settings))
    return film, motion_by(settings.film.flow)


def copies_of(passes: int) -> int:
    """Return how often each frame is kept: as each pass painted it, and for later ones as the film has it."""
    return 1 if passes == 1 else passes + 1


def check(settings: Settings) -> None:
    """Refuse settings that films have no use for.

    Raises:
        ConfigError: the first of them.
    """
    for key in ("content.image", *inputs.OF_ONE_PICTURE):
        if settings.value(key) is not None:
            raise ConfigError(f"{key}: is of one picture, and this is a film: leave it out")
    frames.check(settings)
    film = settings.film
    if film.every > 1 and film.passes > 1:
        raise ConfigError("film.passes: are of films whose frames are all painted: leave film.every at 1")
    if film.every > 1 and len(film.back) > 1:
        raise ConfigError("film.back: keyframes have only the one before: leave it, or film.every at 1")
    if not inputs.styles_of(settings):
        raise ConfigError("style.image: no style image given: use --style FILE, or sample:NAME")


class _Work:
    """What the passes over a film have in common."""

    def __init__(
        self,
        settings: Settings,
        film: Film,
        folder: Path,
        painter: Painter,
        motion: Motion,
        say: inputs.Say,
    ) -> None:
        self.settings, self.film, self.folder = settings, film, folder
        self.painter, self.motion, self.say = painter, motion, say
        self.stamp = painter.stamp(film)
        self.is_begun = frames.is_of(folder, self.stamp)
        self.count = 0
        """Of frames, known after the first pass."""

    def contents(self, first: int) -> Contents:
        """Give the frames of the film from one on."""
        return contents(self.film, self.painter.settings, self.say, first=first)

    def kept_contents(self, numbers: range) -> Contents:
        """Give some of its frames, in any order, as the first pass has kept them."""
        for number in numbers:
            yield number, frames.read(self.folder_of(0), number)

    def folder_of(self, number: int) -> Path:
        """Return where the frames of a pass are, or of pass 0 those of the film itself."""
        return self.folder / ("source" if number == 0 else f"pass_{number}") if number != 1 else self.folder

    def keep(self, frame: Moved, image: FloatArray, line: dict[str, Json], *, within: Path) -> None:
        """Keep a frame that is painted."""
        if not self.is_begun:  # not before: what is refused leaves all as it was
            record = records.record(self.painter.settings, self.painter.network.record(), {})
            frames.begin(self.folder, self.stamp, record, self.say)
            self.is_begun = True
        if within == self.folder and self.settings.film.passes > 1:  # the film cannot be read backwards
            frames.keep(self.folder_of(0), frame.number, frame.content)
        frames.keep(within, frame.number, image)
        frames.note(self.folder, line)


@dataclass(frozen=True)
class _Painted:
    """A frame that has just been finished."""

    done: int
    """Of this pass, with it."""
    loss: float
    seconds: float
    is_first: bool
    """Whether it follows nothing: such take longer than others."""


def _pass(work: _Work, number: int) -> Iterator[_Painted]:
    """Paint all frames once, in their order or backwards, from where an earlier call left off."""
    film, folder = work.settings.film, work.folder_of(number)
    order = range(work.count, 0, -1) if number % 2 == 0 else range(1, work.count + 1)
    done = frames.leading(folder, order if number > 1 else itertools.count(1)) if work.is_begun else 0
    if done and done < (work.count or done + 1):
        frames.go_on(work.folder, done, work.say)
    done = done if film.every == 1 else _last_key(work.folder, done)
    first = max(0, done - max(film.back))
    read = work.contents(first) if number == 1 else work.kept_contents(order[first:])
    moving = following(read, work.motion, steps=film.back)
    since = time.perf_counter()
    with contextlib.closing(read), contextlib.closing(moving):
        for part in segments(itertools.islice(moving, done - first, None), film.every):
            before, after = from_first(part) if part[-1].ties else [], from_last(part)
            loss = _paint_key(work, number, part[-1], part[-1].ties if len(part) == 1 else before[-1:], since)
            for i, frame in enumerate(part[:-1]):
                image = _between(folder, before[i], after[i], (i + 1) / len(part))
                work.keep(frame, image, {"frame": frame.number, "between": True}, within=folder)
            done += len(part)
            begun, since = since, time.perf_counter()
            yield _Painted(done, loss, since - begun, not part[-1].ties)
    if number == 1:
        work.count = done


def _paint_key(work: _Work, number: int, frame: Moved, ties: Sequence[Tie], since: float) -> float:
    """Paint a frame as it follows from others, and return its loss."""
    folder = work.folder_of(number)
    past = [(warped(frames.read(folder, tie.number), tie.flow), tie.trust) for tie in ties]
    own = None if number == 1 else frames.read(work.folder_of(number - 1), frame.number)
    result = work.painter.painted(frame.content, past, None if own is None else _between_passes(own, past))
    line: dict[str, Json] = {"frame": frame.number, "follows": bool(ties)}
    line |= {"pass": number} if work.settings.film.passes > 1 else {}
    line |= {"loss": result.loss, "terms": records.by_kind(result.terms), "evaluations": result.evaluations}
    line |= {"seconds": round(time.perf_counter() - since, 3)}
    work.keep(frame, result.image, line, within=folder)
    return result.loss


def _last_key(folder: Path, done: int) -> int:
    """Return the last keyframe that is finished: frames after it are made anew, as the next one is."""
    keys = [line["frame"] for line in frames.notes(folder) if "between" not in line]
    return max((key for key in keys if key <= done), default=0)


def _between_passes(own: FloatArray, past: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Return what a frame begins with in a later pass: itself, and where it can, half the one beside it."""
    if not past:
        return own
    moved, trust = past[0]
    share = _BLEND * trust[:, :, None]
    return share * moved + (1 - share) * own


def _between(folder: Path, before: Tie, after: Tie, share: float) -> FloatArray:
    """Return a frame that is not painted, made of the keyframes on both sides."""
    one, other = (warped(frames.read(folder, tie.number), tie.flow) for tie in (before, after))
    return blended(one, other, before.trust, after.trust, share)


class _Clock:
    """Tells how long a film will take."""

    def __init__(self, frames_: int | None) -> None:
        self.frames, self.begun = frames_, time.perf_counter()
        self.done = 0
        self.recent: deque[tuple[int, float]] = deque(maxlen=8)

    def progress(self, painted: _Painted, before: int) -> Progress:
        """Return how far the film is, when a frame has been finished, after so many of earlier passes."""
        done = before + painted.done
        if not painted.is_first:
            self.recent.append((done - self.done, painted.seconds))
        self.done = done
        left = None
        if self.recent and self.frames is not None:
            counts, seconds = (sum(each) for each in zip(*self.recent, strict=True))
            left = max(0, self.frames - done) * seconds / max(1, counts)
        return Progress(done, self.frames, painted.loss, time.perf_counter() - self.begun, left)

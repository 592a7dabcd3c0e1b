"""How the frames of a film follow from one another: what moved where, what can be trusted, and the cuts."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from nst_jax import images
from nst_jax.errors import FlowError
from nst_jax.films import opened as films
from nst_jax.films.film import Film, Say, silently
from nst_jax.images import FloatArray
from nst_jax.motion import flo
from nst_jax.motion.cuts import is_cut
from nst_jax.motion.flow import METHODS, flow, scaled
from nst_jax.motion.masks import consistent, minus_nearer
from nst_jax.motion.warp import chained, warped
from nst_jax.settings import Settings
from nst_jax.transfer.pictures import bounded_size

Numbered = tuple[int, FloatArray]
"""A frame of the film at the size that it is painted at, after its number, from 1 on."""

Contents = Generator[Numbered, None, None]

Motion = Callable[[Numbered, Numbered], tuple[FloatArray, FloatArray | None]]
"""Returns the flow of the second frame to the first, and, if that is known, of the first to the second."""


@dataclass(frozen=True, eq=False)
class Tie:
    """How a frame follows from another one."""

    number: int
    """Of the other."""
    flow: FloatArray
    """Where each of its pixels is in the other: what that is warped by."""
    trust: FloatArray
    """1 where that is so, ``(height, width)``."""
    back: FloatArray | None = None
    """Where each pixel of the other is in it, if that is known."""


@dataclass(frozen=True, eq=False)
class Moved:
    """A frame of the film, and what it follows from."""

    number: int
    content: FloatArray
    ties: tuple[Tie, ...] = ()
    """To earlier frames, the nearest first; none: it is the first, or comes after a cut."""


def contents(film: Film, settings: Settings, say: Say = silently, *, first: int = 0) -> Contents:
    """Give the frames of a film from one on, at the size that they are painted at."""
    with contextlib.closing(films.frames(film, say, begin=first)) as read:
        for number, frame in enumerate(read, first + 1):
            unit = images.to_unit(frame)
            yield number, images.resize(unit, bounded_size(unit.shape, settings))


def motion_by(name: str) -> Motion:
    """Return how motion is known: estimated by one of `flow.METHODS`, or read from a folder.

    Raises:
        FlowError: there is no such folder, or nothing of use in it.
    """
    if name in METHODS:
        return lambda earlier, later: (
            flow(earlier[1], later[1], method=name),
            flow(later[1], earlier[1], method=name),
        )
    listed = flo.listed(Path(name))

    def read(earlier: Numbered, later: Numbered) -> tuple[FloatArray, FloatArray | None]:
        backward, forward = flo.between(listed, later[0], earlier[0])
        size = later[1].shape[0], later[1].shape[1]
        return scaled(backward, size), None if forward is None else scaled(forward, size)

    return read


def following(
    frames: Iterable[Numbered], motion: Motion, *, steps: Sequence[int] = (1,)
) -> Generator[Moved, None, None]:
    """Give frames, each with what it follows from; what is moved in the next is found while one is painted.

    Args:
        frames: in the order that they are painted in.
        motion: of pairs of them.
        steps: how many frames back lies what each follows from; the first, 1, tells where the film is cut.
            The masks of several are those of the long-term loss, see `masks.minus_nearer`.
    """
    before: deque[Numbered] = deque(maxlen=max(steps))

    def moved(frame: Numbered) -> Moved:
        ties: list[Tie] = []
        for step in steps:
            if step > len(before):
                break
            earlier = before[-step]
            there, back = motion(earlier, frame)
            if step == 1 and is_cut(earlier[1], frame[1], there):
                before.clear()
                break
            ties.append(Tie(earlier[0], there, consistent(back, there), back))
        before.append(frame)
        masks = minus_nearer([tie.trust for tie in ties])
        return Moved(*frame, tuple(replace(tie, trust=mask) for tie, mask in zip(ties, masks, strict=True)))

    with ThreadPoolExecutor(1) as ahead:  # a single one: what is before a frame is known when its turn comes
        waiting = None
        for frame in frames:
            coming = ahead.submit(moved, frame)
            if waiting:
                yield waiting.result()
            waiting = coming
        if waiting:
            yield waiting.result()


def segments(frames: Iterable[Moved], every: int) -> Iterator[list[Moved]]:
    """Divide a film by its keyframes: each part ends with one, and follows from the one before if it may.

    Keyframes are the first frame and every so many after it, the last, and those on both sides of a cut.
    """
    part: list[Moved] = []
    for frame in frames:
        if not frame.ties:
            if part:
                yield part
            part = []
            yield [frame]
            continue
        part.append(frame)
        if len(part) == every:
            yield part
            part = []
    if part:
        yield part


def from_first(part: Sequence[Moved]) -> list[Tie]:
    """Return how each frame of a part follows from the keyframe before it, through those in between."""
    found: list[Tie] = []
    for frame in part:
        tie = frame.ties[0]
        if found:
            before = found[-1]
            trust = tie.trust * warped(before.trust, tie.flow)
            tie = Tie(before.number, chained(tie.flow, before.flow), trust)
        found.append(tie)
    return found


def from_last(part: Sequence[Moved]) -> list[Tie]:
    """Return how each frame of a part but the last follows from that, the keyframe after it.

    Raises:
        FlowError: the flow to later frames is not known.
    """
    found: list[Tie] = []
    for frame in reversed(part[1:]):
        there = frame.ties[0]
        if there.back is None:
            missing = flo.name(there.number, frame.number)
            raise FlowError(f"{missing}: is missing: frames between keyframes need flow there and back")
        tie = Tie(frame.number, there.back, consistent(there.flow, there.back))
        if found:
            after = found[-1]
            trust = tie.trust * warped(after.trust, tie.flow)
            tie = Tie(after.number, chained(tie.flow, after.flow), trust)
        found.append(tie)
    return found[::-1]

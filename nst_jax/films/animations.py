"""Animations as films: GIF, animated WebP and APNG, whose pictures are shown for a time each."""

import bisect
import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from nst_jax.errors import FilmError, ImageError
from nst_jax.files import replacing
from nst_jax.films.film import Film, Frame, Say, silently
from nst_jax.images import animations

_RATES = (*map(Fraction, range(1, 121)), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001))
"""Frames per second that are meant where times are rounded."""

_FASTEST = 100
_MOST_REPEATS = 10
"""Frames for each picture, on average: so many at most keep different times exactly."""


def probe(path: Path, rate: Fraction | None = None) -> Film:
    """Return what is in an animation.

    Times that differ by no more than they are rounded are those of a constant rate. Others are kept exactly
    by repeated frames, at the rate of their greatest common divisor, as long as that takes no more than ten
    frames a picture and 100 a second; otherwise nearly, at a lower rate.

    Args:
        path: of a file that `images.animations.format_of` knows.
        rate: frames per second; pictures are then repeated or left out.

    Raises:
        ImageError: not even its first picture can be read.
    """
    found = animations.timeline(path)
    own, is_variable = rate_of(found.durations, animations.TICKS[found.format])
    if rate is None and not is_variable:
        repeats, taken = (1,) * len(found.durations), own
    else:
        taken = rate or own
        repeats = sampled(found.durations, taken)
    return Film(
        path=path,
        width=found.width,
        height=found.height,
        rate=taken,
        seconds=float(sum(repeats) / taken),
        is_variable=is_variable,
        kind="animation",
        loops=found.loops,
        repeats=repeats,
    )


def rate_of(durations: Sequence[Fraction], tick: Fraction) -> tuple[Fraction, bool]:
    """Return the rate at which pictures that are shown for some times are frames, and whether some repeat.

    Args:
        durations: in seconds.
        tick: what they are rounded to.
    """
    total, count = sum(durations, Fraction(0)), len(durations)
    spread = max(durations) - min(durations)
    if not spread:
        return 1 / durations[0], False
    if spread <= tick:
        near = [rate for rate in _RATES if abs(count / rate - total) < tick]
        mean = Fraction(count) / total
        return min(near, key=lambda rate: abs(rate - mean), default=mean.limit_denominator(1001)), False
    shared = math.lcm(*(each.denominator for each in durations))
    unit = Fraction(math.gcd(*(int(each * shared) for each in durations)), shared)
    if total / unit <= _MOST_REPEATS * count and 1 / unit <= _FASTEST:
        return 1 / unit, True
    most = min(Fraction(_FASTEST), _MOST_REPEATS * count / total)
    return Fraction(int(most)) if most >= 1 else most.limit_denominator(1001), True


def sampled(durations: Sequence[Fraction], rate: Fraction) -> tuple[int, ...]:
    """Return how many frames at a rate show each picture: what there is in the middle of its time."""
    ends = list(itertools.accumulate(durations))
    count = max(1, round(ends[-1] * rate))
    shown = Counter(
        min(bisect.bisect(ends, (number + Fraction(1, 2)) / rate), len(ends) - 1) for number in range(count)
    )
    return tuple(shown[number] for number in range(len(ends)))


def frames(film: Film, say: Say = silently, *, begin: int = 0) -> Generator[Frame, None, None]:
    """Give the frames of an animation one after another.

    Args:
        film: from `probe`.
        say: told what the user should know.
        begin: the number of the first one to give.

    Raises:
        ImageError: a picture that could be read cannot any more.
    """
    if film.is_variable:
        say(f"{film.path}: its rate changes; {float(film.rate):g} frames per second are taken")
    given, was_transparent = 0, False
    with contextlib.closing(animations.pictures(film.path)) as pictures:
        for repeat, (picture, is_transparent) in zip(film.repeats, pictures, strict=False):
            if is_transparent and not was_transparent:
                say(f"{film.path}: is transparent in parts; white is put behind")
                was_transparent = True
            for _ in range(repeat):
                given += 1
                if given > begin:
                    yield picture
        try:
            next(pictures, None)
        except ImageError as error:
            say(f"{error}; {given} frames of it are there")


@contextlib.contextmanager
def writing(
    path: Path,
    size: tuple[int, int],
    rate: Fraction,
    *,
    quality: int | None = None,
    loops: int = 0,
    say: Say = silently,
) -> Iterator[Callable[[Frame], None]]:
    """Give a function that adds a frame to a new animation, which is there once all of it is.

    Args:
        path: .gif, .webp, .png or .apng; an old one is replaced, or left as it is if anything goes wrong.
        size: height and width in pixels.
        rate: frames per second; if the format cannot hold it, that is said, and the nearest taken.
        quality: of WebP, from 1 to 100, at which nothing is lost; None: good.
        loops: how often it is shown; 0: without end.
        say: told what the user should know.

    Raises:
        ImageError: it cannot hold frames of that size.
        OutputError: it cannot be written.
    """
    format_ = animations.SUFFIXES[path.suffix.lower()]
    seconds = animations.delay(format_, rate)
    if seconds != 1 / rate:
        say(f"{path}: cannot hold {float(rate):.4g} frames per second, and has {float(1 / seconds):.4g}")
    with (
        replacing(path) as file,
        animations.writing(file, path, size, seconds, loops=loops, quality=quality) as write,
    ):
        yield write


def check_output(path: Path, codec: str | None) -> None:
    """Refuse a codec: animations have none.

    Raises:
        FilmError: one is given.
    """
    if codec is not None:
        raise FilmError(f"{path}: {path.suffix} has no choice of codecs; leave {codec} out")

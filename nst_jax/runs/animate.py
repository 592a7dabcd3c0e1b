"""A film of one photograph while settings change: each frame goes on from the one before.

Shares of styles, or weights, go from one value to the next and need no other program. A picture depends on
those before it, so that the last frame would not go on into the first, which had none. A film that is to be
played over and over is therefore painted on over its own first half: each frame there begins with the one
before and, more and more, with what was painted in its place the first time.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nst_jax.errors import ConfigError
from nst_jax.films import opened as films
from nst_jax.images import FloatArray, colour
from nst_jax.runs import frames, inputs, records
from nst_jax.runs.frames import Outcome, Progress
from nst_jax.settings import STYLE_KINDS, Settings
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network
    from nst_jax.transfer.looks import Result

Value = float | tuple[float, ...]

SHARES = "style.shares"

KEYS = (SHARES, "style.strength", "content.weight", "style.weight", "loss.total_variation")
"""Settings that may change: what is a weight needs no other program."""

_OF_FILMS = ("consistency", "flow", "back", "passes", "every")
"""Settings of films whose frames are given."""

_BY_FACTORS = KEYS[2:]
"""Those that span decades: equal steps are equal factors."""


_NO_MATTER = ("output.", *(f"film.{name}" for name in ("codec", "quality", "rate", *_OF_FILMS)))
"""Settings that decide nothing about frames."""

_RATE = Fraction(24)
"""Frames per second, if settings do not tell."""


@dataclass(frozen=True)
class Way:
    """What a film goes through."""

    frames: int = 48
    is_loop: bool = False
    """Whether it goes back to where it began, so that it may be played over and over."""
    between: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    """For each setting, by dotted key, the values that it goes through; none: each style in turn."""


def run(
    settings: Settings,
    output: Path,
    way: Way,
    *,
    callback: Callable[[Progress], object] = lambda progress: None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
) -> Outcome:
    """Paint a film of one photograph.

    Args:
        settings: of each frame, but for what changes.
        output: the film.
        way: what it goes through.
        callback: called after every frame; the work stops if it returns True, and the same call goes on.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: pictures that cannot be read, settings that are not for films, a place that cannot be
            written.
    """
    begun = time.perf_counter()
    every = settings_along(settings, way)
    frames.check_output(output, settings, inputs.files_of(every[0]))
    folder = frames.folder_of(output)
    with frames.claimed(folder, output):
        found = inputs.Reader().read(every[0])
        painter = _Painter(found, inputs.network(settings, download, say=say, notes=found.notes))
        stamp = painter.stamp(settings, way)
        done = frames.leading(folder, itertools.count(1)) if frames.is_of(folder, stamp) else 0
        if done:
            frames.go_on(folder, done, say)
        before = frames.read(folder, done) if done else None
        again = way.frames // 2 if way.is_loop else 0
        total = way.frames + again
        while done < total:
            since, now = time.perf_counter(), every[done % way.frames]
            if before is not None and done >= way.frames:
                number = done - way.frames
                before = _mixed_in(before, frames.read(folder, number + 1), number / again)
            result = painter.painted(now, before)
            if not done:  # not before: what is refused leaves all as it was
                frames.begin(folder, stamp, painter.record(now), say)
            done += 1
            seconds = time.perf_counter() - since
            line: dict[str, Json] = {"frame": done}
            line |= {key: now.value(key) for key in way.between or (SHARES,)}
            line |= {"loss": result.loss, "terms": records.by_kind(result.terms)}
            line |= {"evaluations": result.evaluations, "seconds": round(seconds, 3)}
            frames.keep(folder, done, result.image)
            frames.note(folder, line)
            before = frames.read(folder, done)
            left, spent = (total - done) * seconds, time.perf_counter() - begun
            if callback(Progress(done, total, result.loss, spent, left)) is True:
                return Outcome(output, done, time.perf_counter() - begun, True)
        order = [*range(way.frames + 1, total + 1), *range(again + 1, way.frames + 1)]
        rate, codec = frames.rate_of(settings) or _RATE, settings.film.codec
        cut, quality = films.is_for_even(output, codec), settings.film.quality
        frames.joined(folder, order, output, rate, cut=cut, codec=codec, quality=quality, say=say)
        frames.finish(folder, order, rate)
    return Outcome(output, way.frames, time.perf_counter() - begun, False)


# What changes.


def settings_along(settings: Settings, way: Way) -> list[Settings]:
    """Return the settings of each frame.

    Raises:
        ConfigError: they are not for films, or cannot change so.
    """
    frames.check(settings)
    keys = _keys(settings, way)
    return [settings.with_values(_values(keys, way, number)) for number in range(1, way.frames + 1)]


def _keys(settings: Settings, way: Way) -> dict[str, tuple[Value, ...]]:
    """Return the values that each setting goes through."""
    styles = len(inputs.styles_of(settings))
    between = way.between
    if not between and styles < 2:
        raise ConfigError(
            "there is nothing to go between: give --style several times, or --between KEY=A,B, such as "
            "style.strength=0.1,0.9"
        )
    if not between:
        between = {SHARES: [[float(i == j) for j in range(styles)] for i in range(styles)]}
    found: dict[str, tuple[Value, ...]] = {}
    for key, values in between.items():
        if key not in KEYS:
            raise ConfigError(f"{key}: cannot change in a film; these can: {', '.join(KEYS)}")
        if not isinstance(values, Sequence) or len(values) < 2:
            raise ConfigError(f"{key}: should go through two values at least, got {values!r}")
        found[key] = tuple(_checked(settings, key, value, styles) for value in values)
    if len({len(values) for values in found.values()}) > 1:
        counts = ", ".join(f"{key}: {len(values)}" for key, values in found.items())
        raise ConfigError(f"settings should go through equally many values; {counts}")
    if "content.weight" in found and (settings.style.strength is not None or "style.strength" in found):
        raise ConfigError("content.weight: style.strength stands in its place; leave one of them out")
    if SHARES in found:
        _check_kind(settings)
    return found


def _checked(settings: Settings, key: str, value: Json, styles: int) -> Value:
    """Return a value as it is gone through: of shares, so that they add up to one."""
    found: Value = settings.with_values({key: value}).value(key)
    if found is None:
        raise ConfigError(f"{key}: should be a number, got null")
    if isinstance(found, tuple):
        if len(found) != styles:
            raise ConfigError(f"{key}: there are {len(found)} for {styles} styles: give one for each")
        return tuple(share / sum(found) for share in found)
    return found


def _check_kind(settings: Settings) -> None:
    """Refuse kinds of style that compare with the parts of each style, and not with averages of them all."""
    from nst_jax.losses.kinds import style_term  # late: it imports JAX
    from nst_jax.losses.terms import is_even

    if not is_even(style_term(settings)):
        plain = replace(settings, style=replace(settings.style, terms=()))
        every = [plain.with_values({"style.kind": kind}) for kind in STYLE_KINDS]
        allowed = ", ".join(each.style.kind for each in every if is_even(style_term(each)))
        raise ConfigError(
            f"style.kind: {settings.style.kind} cannot go from style to style; these can: {allowed}"
        )


def _values(keys: Mapping[str, tuple[Value, ...]], way: Way, number: int) -> dict[str, Value]:
    """Return what settings are at a frame: they set out from each value, and come to the next, slowly."""
    found = {}
    for key, values in keys.items():
        stations = (*values, values[0]) if way.is_loop else values
        steps = way.frames if way.is_loop else max(1, way.frames - 1)
        last, rest = divmod((number - 1) * (len(stations) - 1), steps)
        eased = _eased(rest / steps)
        following = stations[min(last + 1, len(stations) - 1)]
        found[key] = _mixed(stations[last], following, eased, by_factors=key in _BY_FACTORS)
    return found


def _mixed(a: Value, b: Value, part: float, *, by_factors: bool) -> Value:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return tuple(_linear(x, y, part) for x, y in zip(a, b, strict=True))
    assert not isinstance(a, tuple)
    assert not isinstance(b, tuple)
    return float(a * (b / a) ** part) if by_factors and a > 0 and b > 0 else _linear(a, b, part)


def _eased(part: float) -> float:
    """Return how far a way is that is slow at both ends, after a part of its time."""
    return part * part * (3 - 2 * part)


def _linear(a: float, b: float, part: float) -> float:
    return (1 - part) * a + part * b


# Frames.


def _mixed_in(before: FloatArray, there: FloatArray, part: float) -> FloatArray:
    share = np.float32(_eased(part))
    return (1 - share) * before + share * there


class _Painter:
    """Paints frame after frame by one program; what all frames have in common is computed once."""

    def __init__(self, found: inputs.Inputs, network: "Network") -> None:
        from nst_jax.transfer.series import Series

        self.found, self.network, self.series = found, network, Series()

    def stamp(self, settings: Settings, way: Way) -> str:
        """Return what finished frames must have been made by to be gone on with."""
        record = self.record(settings)
        course = [way.frames, way.is_loop, dict(way.between)]
        record |= {"inputs": [self.found.digests, course]}
        return records.stamp(record, without=_NO_MATTER)

    def record(self, settings: Settings) -> records.Record:
        """Return what a frame was made by."""
        return records.record(settings, self.network.record(), self.found.digests)

    def painted(self, settings: Settings, before: FloatArray | None) -> "Result":
        """Return a frame painted, given the one before as it was painted."""
        from nst_jax.transfer.problem import posed

        if before is None:
            return self.series.begun(posed(self.found.pictures, inputs.as_posed(settings), self.network))
        settings = frames.later(settings)
        first = before if settings.colour != "content" else colour.grey(colour.lightness(before))
        pictures = replace(self.found.pictures, init=first)
        return self.series.gone_on(posed(pictures, inputs.as_posed(settings), self.network))

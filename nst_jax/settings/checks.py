"""What settings may be: each check returns a value in its one form, or raises ValueError."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

from nst_jax.architecture import canonical_layers
from nst_jax.typing import Json

Check = Callable[[Json], object]
Layers = tuple[str, ...] | dict[str, float]

INIT_SOURCES = ("content", "style", "noise")


@dataclass(frozen=True)
class Number:
    """A finite number within limits."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    is_whole: bool = False
    tiny: float | None = None
    """The least but for 0, if 0 is allowed."""

    def __call__(self, value: object) -> float:
        """Return the value as a float, or as an int."""
        what = "whole number" if self.is_whole else "finite number"
        wrong = not is_number(value) or (self.is_whole and not isinstance(value, int))
        number = value if not wrong and isinstance(value, int | float) else 0
        wrong |= self.least is not None and number < self.least
        wrong |= self.above is not None and number <= self.above
        wrong |= self.most is not None and number > self.most
        wrong |= self.tiny is not None and 0 < number < self.tiny
        if wrong and self.tiny is not None:
            raise ValueError(f"should be 0, or from {self.tiny:g} to {self.most:g}, got {value!r}")
        if wrong:
            limits = {"of at least": self.least, "above": self.above, "of at most": self.most}
            words = " and ".join(
                f"{word} {limit:.12g}" for word, limit in limits.items() if limit is not None
            )
            raise ValueError(f"should be a {what} {words}".rstrip() + f", got {value!r}")
        return number if self.is_whole else float(number)


def whole(least: int, most: int | None = None) -> Number:
    """Check for a whole number."""
    return Number(least=least, most=most, is_whole=True)


MOST_WEIGHT = 1e15
"""Beyond, squares of the gradient would leave what float32 can hold."""

WEIGHT = Number(least=0, most=MOST_WEIGHT, tiny=1e-15)


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    allowed: tuple[object, ...]

    def __call__(self, value: object) -> object:
        """Return the value."""
        if not any(value == known and type(value) is type(known) for known in self.allowed):
            *others, last = map(repr, self.allowed)
            allowed = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"should be {allowed}, got {value!r}")
        return value


def choice(literal: object) -> Choice:
    """Check for a value of a Literal."""
    return Choice(get_args(literal))


def text(value: object) -> str:
    """Check for text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"should be text, got {value!r}")
    return value


def texts(value: object) -> str | tuple[str, ...]:
    """Check for text, or a list of several."""
    if isinstance(value, list | tuple) and value:
        found = tuple(map(text, value))
        return found if len(found) > 1 else found[0]
    return text(value)


def shares(value: object) -> tuple[float, ...]:
    """Check for numbers of at least 0 that add up to more, or none; they may be written as 2,1."""
    if isinstance(value, str):
        with suppress(ValueError):  # it is refused as it is
            value = [float(part) for part in value.split(",")]
    if not isinstance(value, list | tuple):
        raise ValueError(f"should be a list of numbers, such as [2, 1], got {value!r}")
    found = tuple(map(Number(least=0, most=1e6), value))
    if found and not sum(found):
        raise ValueError("should add up to more than 0")
    return found


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def numbers(each: Number) -> Check:
    """Check for a list of numbers."""

    def check(value: object) -> tuple[float, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"should be a list of numbers, got {value!r}")
        return tuple(map(each, value))

    return check


def term_named(names: Iterable[str]) -> Check:
    """Check for the name of a style term, or for a style term (see `losses.terms`)."""
    named = Choice(tuple(names))

    def check(value: object) -> object:
        return value if hasattr(value, "targets") and hasattr(value, "loss") else named(value)

    return check


def terms_of(names: Iterable[str]) -> Check:
    """Check for a list of style terms with their weights in a sum."""
    named = Choice(tuple(names))

    def check(value: object) -> tuple[dict[str, object], ...]:
        if not isinstance(value, list | tuple) or not all(
            isinstance(each, Mapping) and set(each) == {"kind", "weight"} for each in value
        ):
            raise ValueError(f"should be a list such as [{{kind: gram, weight: 1}}], got {value!r}")
        if not all(WEIGHT(each["weight"]) for each in value):
            raise ValueError("a term of weight 0 should be left out")
        return tuple({"kind": named(each["kind"]), "weight": WEIGHT(each["weight"])} for each in value)

    return check


def layers(value: object) -> Layers:
    """Check for names of layers, or names with weights."""
    if isinstance(value, Mapping):
        for weight in value.values():
            try:
                WEIGHT(weight)
            except ValueError as error:
                raise ValueError(f"a layer's weight {error}") from None
        return dict(zip(_distinct(map(str, value)), map(float, value.values()), strict=True))
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"should be a list of layers, or layers with weights, such as {{conv4_2: 1.0}}, got {value!r}"
        )
    return _distinct(value)


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    found = canonical_layers(names)
    if len(set(found)) < len(found):
        raise ValueError(f"names a layer twice: {', '.join(found)}")
    return found


def first_image(value: object) -> str | dict[str, float]:
    """Check for a source of the first image, a file, or a blend of sources whose shares add up to one."""
    if isinstance(value, Mapping):
        for name, share in value.items():
            if name not in INIT_SOURCES:
                raise ValueError(f"a blend is of {', '.join(INIT_SOURCES)}, got '{name}'")
            if not is_number(share) or share < 0:
                raise ValueError(f"the share of '{name}' should be a number of at least 0, got {share!r}")
        total = sum(value.values())
        if total <= 0:
            raise ValueError("shares of a blend should add up to more than 0")
        return {str(name): share / total for name, share in value.items()}
    if not isinstance(value, str) or not value:
        raise ValueError(f"should be content, style, noise, a file or a blend of these, got {value!r}")
    return value


def pixels(value: object) -> int | tuple[int, int]:
    """Check for a number of pixels, or a width and a height."""
    written = re.fullmatch(r"\s*([0-9]+)\s*[xX×]\s*([0-9]+)\s*", value) if isinstance(value, str) else None
    given = (int(written[1]), int(written[2])) if written else value
    sides = tuple(given) if isinstance(given, list | tuple) and len(given) == 2 else (given,)
    found = [n for n in sides if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    if len(found) < len(sides):
        raise ValueError(
            f"should be a number of pixels, or for a texture WIDTHxHEIGHT, such as 640x480, got {value!r}"
        )
    return (found[0], found[1]) if len(found) == 2 else found[0]


def frames_per_second(value: object) -> float | str:
    """Check for a rate: a number, or a fraction such as 30000/1001."""
    written = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value.strip()) if isinstance(value, str) else None
    given = int(written[1]) / int(written[2]) if written and int(written[2]) else value
    number = float(given) if isinstance(given, int | float) and is_number(given) else 0.0
    if not 0.01 <= number <= 1000:
        raise ValueError(
            f"should be a number from 0.01 to 1000, or a fraction such as 30000/1001, got {value!r}"
        )
    return f"{int(written[1])}/{int(written[2])}" if written else number


def box(value: object) -> tuple[float, ...]:
    """Check for a part of a picture: left, top, right and bottom as shares."""
    shares = tuple(value) if isinstance(value, list | tuple) else ()
    if len(shares) == 4 and all(map(is_number, shares)):
        left, top, right, bottom = map(float, shares)
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise ValueError(
        "should be [left, top, right, bottom] as shares from 0 to 1, such as [0, 0.5, 1, 1] for the "
        f"lower half, got {value!r}"
    )


_UNITS = {"": 1} | {
    prefix + i: (1024 if i else 1000) ** power for power, prefix in enumerate("KMGT", 1) for i in ("", "I")
}


def nbytes(value: object) -> int:
    """Check for a number of bytes, which may be written with a unit."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kKMGT]?i?)B?\s*", value) if isinstance(value, str) else None
    number = 0
    try:
        if found:
            number = int(float(found[1]) * _UNITS[found[2].upper()])
        elif isinstance(value, int | float) and is_number(value):
            number = int(value)
    except (ValueError, OverflowError):
        pass
    if number <= 0:
        raise ValueError(f"should be a number of bytes, such as 800MB or 4GiB, got {value!r}")
    return number


def steps_back(value: object) -> tuple[int, ...]:
    """Check for numbers of frames back, the nearest first: such as [1, 2, 4]."""
    found = tuple(value) if isinstance(value, list | tuple) else ()
    if not found or found[0] != 1 or list(found) != sorted(set(found)) or not all(map(whole(1, 64), found)):
        raise ValueError(f"should be a growing list that begins with 1, such as [1, 2, 4], got {value!r}")
    return found


def axes(value: object) -> object:
    """Check for the axes of a sweep; what they hold is the affair of `config`."""
    if not isinstance(value, list | tuple) or not all(isinstance(axis, Mapping) for axis in value):
        raise ValueError(f"should be a list of settings with their values, got {value!r}")
    return tuple(value)

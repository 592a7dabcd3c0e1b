"""The axes of a sweep as they are written: lists of values, ``logspace``, ``linspace``, zipped or crossed."""

import math
from collections.abc import Mapping

from nst_jax.typing import Json

TITLES = ("title", "labels")
"""What an axis may hold besides its settings: words for the sheet and the page."""

MOST = 10_000
"""Values of a ``logspace`` or ``linspace``."""

_DIGITS = 12
"""Significant digits of a computed value, so that it reads 0.001 and not 0.0010000000000000002."""


def check_axes(value: Json) -> tuple[dict[str, Json], ...]:
    """Return axes as mappings of dotted keys to tuples of values.

    A list of mappings: the keys of one mapping are zipped, the mappings are crossed. A single mapping: each
    key is an axis of its own, unless it has a title or labels, which name one axis.

    Raises:
        ValueError: what is no axis, an empty list, zipped lists of different lengths, a key given twice.
    """
    if isinstance(value, Mapping):
        single = set(value) & set(TITLES)
        value = [value] if single else [{key: values} for key, values in _flat(value).items()]
    if not isinstance(value, list | tuple) or not all(isinstance(axis, Mapping) and axis for axis in value):
        raise ValueError(f"should be settings with lists of values, or a list of these, got {value!r}")
    problems: list[str] = []
    axes = tuple(_axis(axis, problems) for axis in value)
    keys = [key for axis in axes for key in axis if key not in TITLES]
    for i, key in enumerate(keys):
        # A whole and its part, such as init and init.noise, would overwrite each other.
        if any(f"{full(key)}.".startswith(f"{full(other)}.") for other in keys[:i] + keys[i + 1 :]):
            problems.append(f"{key} is in two axes; a setting can be in one only")
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return axes


def full(key: str) -> str:
    """Return the whole name of a setting: ``content`` is short for ``content.image``."""
    return f"{key}.image" if key in ("content", "style") else key


def _axis(written: Mapping[str, Json], problems: list[str]) -> dict[str, Json]:
    axis: dict[str, Json] = {}
    for key, values in _flat({key: v for key, v in written.items() if key not in TITLES}).items():
        try:
            axis[key] = _values(values)
        except ValueError as error:
            problems.append(f"{key}: {error}")
            axis[key] = ()
    if not axis:
        problems.append(f"an axis has no setting: {dict(written)!r}")
    lengths = {key: len(values) for key, values in axis.items() if values}
    labels, title = written.get("labels"), written.get("title")
    if labels is not None:
        if isinstance(labels, list | tuple) and labels:
            axis["labels"] = tuple("null" if label is None else str(label) for label in labels)
            lengths["labels"] = len(labels)
        else:
            problems.append(f"labels should be a list of texts, got {labels!r}")
    if title is not None:
        axis["title"] = str(title)
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        problems.append(f"settings in one axis go together and need as many values each: {counts}")
    return axis


def _flat(settings: Mapping[str, Json], before: str = "") -> dict[str, Json]:
    """Return ``{style: {weight: ...}}`` as ``{style.weight: ...}``."""
    flat: dict[str, Json] = {}
    for key, value in settings.items():
        dotted = f"{before}{key}"
        if isinstance(value, Mapping) and value and not set(value) & set(_SPACES):
            flat |= _flat(value, f"{dotted}.")
        else:
            flat[dotted] = value
    return flat


def _values(written: Json) -> tuple[Json, ...]:
    if isinstance(written, Mapping) and written:
        return _space(written)
    if not isinstance(written, list | tuple):
        raise ValueError(
            f"should be a list of values, {{logspace: [first, last, count]}} or {{linspace: ...}}, "
            f"got {written!r}"
        )
    if not written:
        raise ValueError("the list of values is empty")
    return tuple(written)


def _space(written: Mapping[str, Json]) -> tuple[Json, ...]:
    kind = next(name for name in _SPACES if name in written)
    ends = written[kind]
    right = isinstance(ends, list | tuple) and len(ends) == 3 and all(map(_is_number, ends))
    if len(written) != 1 or not right or not isinstance(ends[2], int) or not 1 <= ends[2] <= MOST:
        raise ValueError(
            f"should be {{{kind}: [first, last, count]}}, got {dict(written)!r}; a count is from 1 to {MOST}"
        )
    first, last, count = ends
    if kind == "logspace" and (first <= 0 or last <= 0):
        raise ValueError(
            f"logspace goes from value to value, both above 0, such as [1e-4, 1e-1, 4]; got {ends!r}"
        )
    shares = [n / (count - 1) for n in range(count)] if count > 1 else [0.0]
    if kind == "logspace":
        low, high = math.log10(first), math.log10(last)
        values = [10 ** (low + (high - low) * share) for share in shares]
    else:
        values = [first * (1 - share) + last * share for share in shares]
    values = [float(f"{value:.{_DIGITS}g}") for value in values]
    whole = kind == "linspace" and isinstance(first, int) and isinstance(last, int)
    return tuple(int(value) if whole and value == int(value) else value for value in values)


def _is_number(value: Json) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


_SPACES = ("logspace", "linspace")

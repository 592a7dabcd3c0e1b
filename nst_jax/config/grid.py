"""A config with axes becomes cells: every point of the grid is a config of its own."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass
from pathlib import PurePath

from nst_jax.architecture import canonical_layers
from nst_jax.config.values import TITLES, full
from nst_jax.errors import ConfigError, SettingError, did_you_mean
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.samples import works
from nst_jax.settings import Number, Settings, Sweep, every_setting
from nst_jax.typing import Json

_PICTURES = ("content.image", "style.image")
_OTHERS = ("init", "colour", "content.kind", "style.crop", "style.kind", "style.shares", "style.terms")
_LAYERS = ("content.layers", "style.layers")
_SIZES = ("size", "patch.memory", "memory_limit")
_UNSWEPT = ("sweep", "output", "max_pixels")
"""Numbers here say how the work is done or written, not what the picture is."""


NO_LANES = (
    "solver.kind lbfgsb is for single runs, since SciPy can neither take several in step nor go on with what "
    "was interrupted: use lbfgs, the default"
)


@dataclass(frozen=True)
class Axis:
    """One direction of a grid: what it is called, and what each of its values is called."""

    title: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One point of a grid."""

    index: int
    position: tuple[int, ...]
    """One index for each axis; the last axis runs fastest."""
    config: Settings
    settings: dict[str, str]
    """What this cell has otherwise than others, as text."""

    @property
    def where(self) -> str:
        """Say the settings in one line."""
        return in_words(self.settings)


def in_words(settings: Mapping[str, str]) -> str:
    """Return settings in one line: ``style.weight 10, seed 3``."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def axes(config: Settings) -> list[Axis]:
    """Return the axes of a config's sweep with their words."""
    found = []
    for axis in config.sweep.axes:
        words = _words(axis)
        labels = axis.get("labels") or [" / ".join(row) for row in zip(*words.values(), strict=True)]
        found.append(Axis(axis.get("title") or " / ".join(words), tuple(labels)))
    return found


def cells(config: Settings) -> list[Cell]:
    """Return every point of a config's grid, the last axis running fastest.

    Raises:
        ConfigError: a setting that cannot be swept, or a value that it cannot have.
    """
    wrong = problems(config)
    if wrong:
        raise ConfigError("\n".join(message for _, message in wrong))
    return list(_cells(config))


def problems(config: Settings) -> list[tuple[str, str]]:
    """Return what is wrong with a config's axes: pairs of the key and a sentence."""
    found: list[tuple[str, str]] = []
    count = math.prod(len(_points(axis)) for axis in config.sweep.axes)
    if config.sweep.axes and config.solver.kind == "lbfgsb":
        found.append(("axes", f"sweep: {NO_LANES}"))
    few = count <= config.sweep.max_cells
    if not few:
        text = f"sweep: the grid has {count} cells, more than max_cells: {config.sweep.max_cells}"
        found.append(("max_cells", text))
    for axis in config.sweep.axes:
        keys = [key for key in axis if key not in TITLES]
        refused = [(key, f"sweep: {key}: {why}") for key in keys if (why := _refuse(key))]
        found += refused
        for point in _points(axis) if few and not refused else ():
            try:
                _at(config, point)
            except SettingError as error:
                found.append((keys[0], f"sweep: {', '.join(keys)}: {_message(error)}"))
                break
    try:
        if not found:
            list(_cells(config))  # what goes together in one axis may not go with another
    except ConfigError as error:
        found.append(("axes", str(error)))
    return found


def _cells(config: Settings) -> Iterator[Cell]:
    steps = [list(zip(_points(axis), _rows(axis), strict=True)) for axis in config.sweep.axes]
    for index, position in enumerate(itertools.product(*(range(len(step)) for step in steps))):
        point: dict[str, Json] = {}
        words: dict[str, str] = {}
        for step, i in zip(steps, position, strict=True):
            point |= step[i][0]
            words |= step[i][1]
        try:
            yield Cell(index, position, _at(config, point), words)
        except SettingError as error:
            raise ConfigError(f"sweep: at {in_words(words)}: {_message(error)}") from None


def _points(axis: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Return the settings of each step along an axis."""
    settings = {_full(key): values for key, values in axis.items() if key not in TITLES}
    return [dict(zip(settings, values, strict=True)) for values in zip(*settings.values(), strict=True)]


def _rows(axis: Mapping[str, Json]) -> list[dict[str, str]]:
    """Return the same as words."""
    words = _words(axis)
    return [dict(zip(words, values, strict=True)) for values in zip(*words.values(), strict=True)]


def _words(axis: Mapping[str, Json]) -> dict[str, list[str]]:
    found = {}
    for key, values in axis.items():
        if key not in TITLES:
            words = [_word(_full(key), value) for value in values]
            # Files of one name in several folders keep their folders.
            plain = [str(value) for value in values]
            found[key.removesuffix(".image")] = words if len(set(words)) == len(set(plain)) else plain
    return found


def _full(key: str) -> str:
    outer, _, layer = full(key).rpartition(".")
    if outer in _LAYERS:
        with suppress(ConfigError):  # an unknown one is reported with its value
            return f"{outer}.{canonical_layers([layer])[0]}"
    return full(key)


def _refuse(key: str) -> str:
    """Return why a key cannot be swept, or nothing."""
    every = dict(every_setting(Settings()))
    numbers = [name for name, each in every.items() if _is_swept(name, each)]
    known = [*numbers, *_PICTURES, *_LAYERS, *_OTHERS]
    name = full(key)
    outer = name.rpartition(".")[0]
    if name in known or outer in _LAYERS or outer == "init":  # names of layers are checked with the value
        return ""
    allowed = (
        f"{', '.join(numbers)}, content, style, {', '.join(_OTHERS)}, init.NAME, "
        f"{', '.join(f'{k}[.NAME]' for k in _LAYERS)}"
    )
    if name.split(".")[0] in _UNSWEPT:
        return f"says how the work is done or written, and cannot be swept; can be swept: {allowed}"
    if name in every:
        return f"is not a number and cannot be swept; can be swept: {allowed}"
    return f"unknown key{did_you_mean(key, known)}; can be swept: {allowed}"


def _is_swept(name: str, each: Field[Json]) -> bool:
    """Tell whether a setting is a number that decides what the picture is."""
    check = each.metadata["check"]
    return (isinstance(check, Number) and name.split(".")[0] not in _UNSWEPT) or name in _SIZES


def _at(config: Settings, point: Mapping[str, Json]) -> Settings:
    """Return settings with some of them changed, as a run of its own."""
    values: dict[str, Json] = {"sweep": Sweep()}
    for key, value in point.items():
        outer, _, name = key.rpartition(".")
        plain = dict(value) if isinstance(value, Mapping) else value
        if outer in _LAYERS:
            values[outer] = {**values.get(outer, _weights_of(config, outer)), name: plain}
        elif outer == "init":
            before = {config.init: 1.0} if isinstance(config.init, str) else config.init
            values[outer] = {**values.get(outer, before), name: plain}
        else:
            values[key] = plain
    return config.with_values(values)


def _weights_of(config: Settings, key: str) -> dict[str, float]:
    """Return the weights of layers that are given by name alone."""
    from nst_jax.losses.kinds import style_layers  # late: it imports JAX

    layers = config.content.layers if key == "content.layers" else style_layers(config)
    if isinstance(layers, Mapping):
        return dict(layers)
    return CONVENTIONS[config.loss.convention].layer_weights(layers)


def _message(error: SettingError) -> str:
    return error.problems[0][1]


def picture_name(value: str) -> str:
    """Return what a picture is called on sheets and pages."""
    if value.startswith(works.PREFIX):
        return f"{value.removeprefix(works.PREFIX)} (stand-in)"
    return PurePath(value.removeprefix("sample:")).stem


def _word(key: str, value: Json) -> str:
    """Return a value as a reader would write it."""
    if isinstance(value, float):
        text = f"{value:g}" if float(f"{value:g}") == value else repr(value)
        return re.sub(r"e([-+]?)0*", lambda m: "e" + m[1].strip("+"), text)  # 1e-5, not 1e-05
    if value is None:
        return "null"
    if key in _PICTURES:
        return " + ".join(map(picture_name, value if isinstance(value, list | tuple) else [str(value)]))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_word('', inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)

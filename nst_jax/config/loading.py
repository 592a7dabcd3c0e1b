"""A file, flags and ``key=value`` pairs become one config, or one sentence for each mistake."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from nst_jax.config.grid import problems as grid_problems
from nst_jax.config.text import Key, parse
from nst_jax.config.values import check_axes
from nst_jax.errors import ConfigError, SettingError, did_you_mean
from nst_jax.samples import works
from nst_jax.settings import SHORT, SHORT_TYPES, Settings, from_dict
from nst_jax.settings.section import Problem
from nst_jax.typing import Json


def load(
    path: str | Path | None = None,
    *,
    base: Mapping[str, Json] | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, tuple[str, Json]] | None = None,
) -> Settings:
    """Return the settings that a file, flags and assignments make.

    Args:
        path: a YAML file, or the name of a packaged config such as ``starry``; None: the defaults.
        base: settings to start from instead of a file.
        assignments: texts ``key=value``, the key dotted (``style.weight=1e4``), the value in YAML.
        flags: for a dotted key, the flag's name (for messages) and its value. Flags are applied before
            assignments, both over the file.

    Raises:
        ConfigError: one line for each mistake.
    """
    data: dict[str, Json] = dict(base or {})
    places: dict[Key, str] = {}
    problems: list[str] = []
    name = ""
    if path is not None:
        found = find(path)
        name = str(found)
        data, places, problems = parse(_read(found), name=name)
    for key, (flag, value) in (flags or {}).items():
        _assign(data, places, key, value, flag)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            problems.append(f"--set {text}: should be key=value, such as style.weight=1e4")
            continue
        parsed, _, wrong = parse(
            value, name=f"--set {text}", top=dict | list | str | int | float | bool | None
        )
        problems += wrong
        if not wrong:
            _assign(data, places, key.strip(), parsed, f"--set {text}")
    folder = data.get("images", os.environ.get("NST_JAX_IMAGES"))
    try:
        data = works.located(data, folder if isinstance(folder, str) else None)
    except ConfigError as error:
        problems.append(str(error))
    try:
        config = from_dict(_with_axes(data))
    except SettingError as error:
        problems += [_sentence(key, text, places, name) for key, text in error.problems]
    else:
        problems += [f"{_place_in_sweep(key, places)}{text}" for key, text in grid_problems(config)]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _with_axes(data: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return settings with the axes of a sweep in the form that `Sweep` has them."""
    sweep = data.get("sweep")
    if not isinstance(sweep, Mapping) or "axes" not in sweep:
        return data
    try:
        return {**data, "sweep": {**sweep, "axes": check_axes(sweep["axes"])}}
    except ValueError as error:
        others = {key: value for key, value in sweep.items() if key != "axes"}
        problems: list[Problem] = [(("sweep", "axes"), str(error))]
        try:
            from_dict({**data, "sweep": others})
        except SettingError as more:
            problems += more.problems  # all mistakes at once
        raise SettingError(problems) from None


def find(path: str | Path) -> Path:
    """Return a config file: as given, or among the configs that come with the program, by name."""
    given = Path(path)
    if os.path.isfile(given):  # unlike Path.is_file, it takes names that no file can have
        return given
    names = packaged()
    plain = given.with_suffix("") if given.suffix == ".yaml" else given
    for name in (plain.as_posix().removeprefix("configs/"), plain.stem, f"papers/{plain.stem}"):
        if name in names and given.suffix in ("", ".yaml"):  # also beside a folder of that name
            return names[name]
    near = did_you_mean(given.stem, names)
    raise ConfigError(
        f"{path}: no such config file{near}; configs that come with the program: {', '.join(names)}"
    )


def packaged() -> dict[str, Path]:
    """Return the configs that come with the program, by name: ``starry``, ``papers/gatys2016_fig3``, ..."""
    package = Path(str(files("nst_jax")))
    folders = (package / "configs", package.parent / "configs")  # installed, and in a checkout
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for folder in folders
        for pattern in ("*.yaml", "*/*.yaml")
        for file in sorted(folder.glob(pattern))
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a text file in UTF-8") from None


def _assign(data: dict[str, Json], places: dict[Key, str], dotted: str, value: Json, place: str) -> None:
    *outer, last = dotted.split(".")
    section = data
    for depth, name in enumerate(outer, 1):
        inside = section.get(name)
        if isinstance(inside, list) and list not in SHORT_TYPES.get(name, ()):
            whole = ".".join(outer[:depth])
            raise ConfigError(f"{place}: {dotted}: {whole} is a list here; set it as a whole")
        if name in SHORT and isinstance(inside, SHORT_TYPES[name]):  # a short form, `content: photo.jpg`
            inside = {SHORT[name]: inside}
        section[name] = dict(inside) if isinstance(inside, Mapping) else {}
        section = section[name]
    if isinstance(section.get(last), Mapping) and not outer and isinstance(value, SHORT_TYPES.get(last, ())):
        section, last, dotted = section[last], SHORT[last], f"{dotted}.{SHORT[last]}"
    section[last] = value
    key = tuple(dotted.split("."))
    for below in [known for known in places if known[: len(key)] == key]:
        del places[below]  # what was there before is gone
    places[key] = place


def _sentence(key: Key, text: str, places: dict[Key, str], name: str) -> str:
    outer = (places[key[:n]] for n in range(len(key), 0, -1) if key[:n] in places)
    inner = (place for known, place in places.items() if known[: len(key)] == key)
    place = next(outer, None) or next(inner, name)
    return f"{place}: {'.'.join(map(str, key))}: {text}".removeprefix(": ")


def _place_in_sweep(key: str, places: Mapping[Key, str]) -> str:
    inside = {known: place for known, place in places.items() if known[0] == "sweep"}

    def names(known: Key) -> str:
        return ".".join(name for name in known[1:] if isinstance(name, str)).removeprefix("axes.")

    labels = {
        known: place for known, place in inside.items() if isinstance(known[-1], str)
    }  # no items of lists
    exact = [place for known, place in labels.items() if names(known) == key]
    axes = [place for known, place in labels.items() if known[1:] == ("axes",)]
    place = (exact[-1:] or axes or [""])[0]  # the last of equal ones: an assignment over a file
    return f"{place}: " if place else ""

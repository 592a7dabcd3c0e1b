"""A file, flags and ``key=value`` pairs become one config, or one sentence for each mistake."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from nst_jax.config.grid import problems as grid_problems
from nst_jax.config.models import SHORT, Config
from nst_jax.config.text import Key, parse
from nst_jax.errors import ConfigError, did_you_mean
from nst_jax.samples import works


def load(
    path: str | Path | None = None,
    *,
    base: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, tuple[str, Any]] | None = None,
) -> Config:
    """Return a validated config.

    Args:
        path: a YAML file, or the name of a packaged config such as ``starry``; None: the defaults.
        base: settings to start from instead of a file.
        assignments: texts ``key=value``, the key dotted (``style.weight=1e4``), the value in YAML.
        flags: for a dotted key, the flag's name (for messages) and its value. Flags are applied before
            assignments, both over the file.

    Raises:
        ConfigError: one line for each mistake.
    """
    data: dict[str, Any] = dict(base or {})
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
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += [_sentence(e, places, name) for e in error.errors()]
    else:
        problems += [f"{_place_in_sweep(key, places)}{text}" for key, text in grid_problems(config)]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def find(path: str | Path) -> Path:
    """Return a config file: as given, or among the configs that come with the program, by name."""
    given = Path(path)
    if given.is_file():
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


def _assign(data: dict[str, Any], places: dict[Key, str], dotted: str, value: Any, place: str) -> None:
    *outer, last = dotted.split(".")
    section = data
    for depth, name in enumerate(outer, 1):
        inside = section.get(name)
        if isinstance(inside, list):
            whole = ".".join(outer[:depth])
            raise ConfigError(f"{place}: {dotted}: {whole} is a list here; set it as a whole")
        if isinstance(inside, str) and name in SHORT:  # a short form, `content: photo.jpg`
            inside = {SHORT[name]: inside}
        section[name] = dict(inside) if isinstance(inside, Mapping) else {}
        section = section[name]
    if isinstance(section.get(last), Mapping) and isinstance(value, str) and not outer and last in SHORT:
        section, last, dotted = section[last], SHORT[last], f"{dotted}.{SHORT[last]}"
    section[last] = value
    key = tuple(dotted.split("."))
    for below in [known for known in places if known[: len(key)] == key]:
        del places[below]  # what was there before is gone
    places[key] = place


def _sentence(error: Any, places: dict[Key, str], name: str) -> str:
    keys = tuple(k for k in error["loc"] if not (isinstance(k, str) and ("[" in k or "(" in k)))
    model, known = _known_keys(keys)
    dotted = ".".join(map(str, known))
    outer = (places[known[:n]] for n in range(len(known), 0, -1) if known[:n] in places)
    inner = (place for key, place in places.items() if key[: len(known)] == known)
    place = next(outer, None) or next(inner, name)
    where = f"{place}: " if place else ""
    if error["type"] == "extra_forbidden":
        near = did_you_mean(str(keys[-1]), model)
        return f"{where}{dotted}: unknown key{near}; allowed: {', '.join(model)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = "" if "got " in message or error["type"] == "value_error" else f", got {_short(error['input'])}"
    return f"{where}{dotted}: {message}{given}"


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(keys: Key) -> tuple[list[str], Key]:
    """Return the allowed names where a key stands, and the key without pydantic's tags of union members."""
    model: Any = Config
    fields: list[str] = list(Config.model_fields)
    kept: list[str | int] = []
    for key in keys:
        if model is None:
            break
        fields = list(model.model_fields)
        kept.append(key)
        field = model.model_fields.get(key)
        kind = field.annotation if field else None
        model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return fields, tuple(kept)

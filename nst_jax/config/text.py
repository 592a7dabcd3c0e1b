"""YAML text to values, with the place of every key; and a config back to YAML."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields

import yaml

from nst_jax.settings import Section, Settings, every_setting
from nst_jax.typing import Json

Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2: 1e3 is a number, ``no`` and ``12:30`` are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9](_?[0-9])*", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value.replace("_", "")))


def parse(text: str, *, name: str, top: Json = dict) -> tuple[Json, dict[Key, str], list[str]]:
    """Parse YAML text.

    Args:
        text: the YAML.
        name: where it is from, for messages.
        top: the type that the whole must have.

    Returns:
        The value, the place ``name:line:column`` of every key in it, and a list of problems found.
    """
    places: dict[Key, str] = {}
    problems: list[str] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return ({} if top is dict else None), places, problems
        _walk(node, (), name, places, problems)
        value = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        return {}, places, [*problems, f"{where}: is not YAML: {error.problem or error.context}"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return {}, places, [*problems, f"{name}: is not YAML: {str(error).splitlines()[0]}"]
    if not isinstance(value, top):
        return {}, places, [*problems, f"{name}:1:1: should be keys with values, got {type(value).__name__}"]
    return value, places, problems


def _walk(node: yaml.Node, key: Key, name: str, places: dict[Key, str], problems: list[str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[(*key, index)] = _place(item, name)
            _walk(item, (*key, index), name, places, problems)
    if not isinstance(node, yaml.MappingNode):
        return
    for label, item in node.value:
        inner = (*key, str(label.value))
        if inner in places:
            dotted = ".".join(map(str, inner))
            problems.append(
                f"{_place(label, name)}: {dotted}: stands here a second time, first at {places[inner]}"
            )
        places[inner] = _place(label, name)
        _walk(item, inner, name, places, problems)


def _place(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def to_yaml(config: Section) -> str:
    """Return settings as YAML, each key with its meaning as a comment. `load` reads it back."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(section: Section, indent: str) -> list[str]:
    lines: list[str] = []
    for each in fields(section):
        value = getattr(section, each.name)
        if isinstance(value, Section):
            lines += [f"{indent}{each.name}:  # {type(value).__doc__}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{each.name}: {_scalar(value)}  # {each.metadata['meaning']}")
    return lines


def _scalar(value: Json) -> str:
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_./][\w./-]*(:[\w.-]+)?", value)
        same = plain and parse(value, name="", top=object)[0] == value
        quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))
        return value if same else quoted.rstrip("\n")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_scalar(k)}: {_scalar(v)}' for k, v in value.items())}}}"
    return json.dumps(value)


def to_arguments(settings: Settings) -> list[str]:
    """Return the words of a command line for settings: flags, and ``--set`` where there is none."""
    found: list[str] = []
    for key, each in every_setting(settings):
        value = settings.value(key)
        if value == each.default:
            continue
        flag = each.metadata["flag"]
        values = value if isinstance(value, tuple) and key == "style.image" else (value,)
        for one in values:
            text = _size(one) if key == "size" else one if flag and isinstance(one, str) else _scalar(one)
            found += (
                [f"--{flag}", text] if flag and not key.startswith("sweep.") else ["--set", f"{key}={text}"]
            )
    return found


def _size(value: Json) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)

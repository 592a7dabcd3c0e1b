"""A section of settings: a frozen dataclass that checks itself, and its way to and from plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import ClassVar, TypeVar

from nst_jax.errors import SettingError, did_you_mean
from nst_jax.settings.checks import Check
from nst_jax.typing import Json

Problem = tuple[tuple[str | int, ...], str]


def setting(default: object, check: Check, meaning: str, *, flag: str = "") -> Json:
    """Return a dataclass field: a setting with its default, its check, its meaning, and perhaps a flag."""
    return field(default=default, metadata={"check": check, "meaning": meaning, "flag": flag})


@dataclass(frozen=True)
class Section:
    """Settings that belong together."""

    SHORT: ClassVar[str] = ""
    """The setting that the section may be written as, alone."""
    SHORT_TYPES: ClassVar[tuple[type, ...]] = (str,)
    """Of what type it may then be."""

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            SettingError: with one problem for each setting that is wrong.
        """
        problems = []
        for each in fields(self):
            value = getattr(self, each.name)
            try:
                object.__setattr__(self, each.name, checked(each, value))
            except ValueError as error:
                problems.append(((each.name,), str(error)))
        if problems:
            raise SettingError(problems)


def checked(each: Field[Json], value: object) -> object:
    """Return a setting's value in its one form; ValueError if it may not be that."""
    if is_section(each):
        if not isinstance(value, type(default_of(each))):
            raise ValueError(f"should be {type(default_of(each)).__name__}, got {value!r}")
        return value
    return value if value is None and each.default is None else each.metadata["check"](value)


def is_section(each: Field[Json]) -> bool:
    """Tell whether a field is a section of settings."""
    return isinstance(default_of(each), Section)


def default_of(each: Field[Json]) -> Json:
    """Return the default of a field."""
    return each.default_factory() if each.default_factory is not MISSING else each.default


AnySection = TypeVar("AnySection", bound=Section)


def changed(section: AnySection, key: list[str], value: object) -> AnySection:
    """Return the same with another value at a key, given in its parts.

    Raises:
        SettingError: an unknown key, or a value that it may not have.
    """
    name, *rest = key
    known = {each.name: each for each in fields(section)}
    if name not in known or (rest and not is_section(known[name])):
        near = did_you_mean(name, known)
        raise SettingError([((name,), f"unknown setting{near}; allowed: {', '.join(known)}")])
    inner = getattr(section, name)
    if rest:
        value = changed(inner, rest, value)
    elif isinstance(inner, Section) and inner.SHORT and not isinstance(value, Section | Mapping):
        value = replace(inner, **{inner.SHORT: value})
    return replace(section, **{name: value})


def every_setting(section: Section, before: str = "") -> Iterator[tuple[str, Field[Json]]]:
    """Yield the dotted key and the field of every setting, section by section."""
    for each in fields(section):
        if is_section(each):
            yield from every_setting(default_of(each), f"{before}{each.name}.")
        else:
            yield f"{before}{each.name}", each


def as_dict(section: Section) -> dict[str, Json]:
    """Return settings as nested dicts of plain values, as in a config file; `from_dict` reads them back."""
    return {each.name: _plain(getattr(section, each.name)) for each in fields(section)}


def _plain(value: object) -> object:
    if isinstance(value, Section):
        return as_dict(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return {str(k): _plain(inner) for k, inner in value.items()} if isinstance(value, Mapping) else value


def from_dict(kind: type[AnySection], data: Mapping[str, Json]) -> AnySection:
    """Return the settings that nested dicts of plain values stand for.

    Raises:
        SettingError: with a problem for each unknown key and each value that may not be.
    """
    problems: list[Problem] = []
    found = _section(kind, data, (), problems)
    if found is None:
        raise SettingError(problems)
    return found


def _section(
    kind: type[AnySection], data: object, key: tuple[str, ...], problems: list[Problem]
) -> AnySection | None:
    if kind.SHORT and isinstance(data, kind.SHORT_TYPES):
        data = {kind.SHORT: data}
    if not isinstance(data, Mapping):
        one = kind.SHORT == "image" and isinstance(data, list | tuple)
        what = "is one picture; for several see nst-jax sweep --help"
        problems.append((key, what if one else f"should be keys with values, got {data!r}"))
        return None
    known = {each.name: each for each in fields(kind)}
    values: dict[str, Json] = {}
    before = len(problems)
    for name, value in data.items():
        inner = (*key, name)
        if name not in known:
            near = did_you_mean(str(name), known)
            problems.append((inner, f"unknown key{near}; allowed: {', '.join(known)}"))
        elif is_section(known[name]):
            values[name] = _section(type(default_of(known[name])), value, inner, problems)
        else:
            try:
                values[name] = checked(known[name], value)
            except ValueError as error:
                problems.append((inner, str(error)))
    return kind(**values) if len(problems) == before else None

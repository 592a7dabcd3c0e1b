"""Every setting of a run: its default, its meaning, and what it may be.

Frozen dataclasses, nested as in a config file. They check themselves, whoever makes them, and bring values to
one form: lists become tuples, ``relu4_2`` becomes ``conv4_2``. YAML files, flags, ``--help``,
``--print-config``, docs/settings.md and the records of runs are made from them: a new setting is one entry in
`sections`, and one line where it is used. There is neither JAX nor YAML here.
"""

from collections.abc import Mapping
from dataclasses import fields

from nst_jax.settings.checks import INIT_SOURCES, Layers, Number
from nst_jax.settings.outputs import Film, Mode, Output, Sweep
from nst_jax.settings.section import Section, as_dict, default_of, every_setting, is_section
from nst_jax.settings.section import from_dict as _from_dict
from nst_jax.settings.sections import (
    GAMMA,
    GUIDED_KINDS,
    LONGEST,
    SOLVERS,
    STYLE_KINDS,
    Content,
    ContentKind,
    ConventionName,
    Loss,
    Memory,
    Network,
    Patch,
    Precision,
    Pyramid,
    Semantic,
    Settings,
    Solver,
    Style,
)
from nst_jax.typing import Json

__all__ = [
    "GAMMA",
    "GUIDED_KINDS",
    "INIT_SOURCES",
    "LONGEST",
    "SHORT",
    "SHORT_TYPES",
    "SOLVERS",
    "STYLE_KINDS",
    "Content",
    "ContentKind",
    "ConventionName",
    "Film",
    "Layers",
    "Loss",
    "Memory",
    "Mode",
    "Network",
    "Number",
    "Output",
    "Patch",
    "Precision",
    "Pyramid",
    "Section",
    "Semantic",
    "Settings",
    "Solver",
    "Style",
    "Sweep",
    "as_dict",
    "default_of",
    "every_setting",
    "from_dict",
    "is_section",
]


def from_dict(data: Mapping[str, Json]) -> Settings:
    """Return the settings that nested dicts of plain values stand for.

    Raises:
        SettingError: with a problem for each unknown key and each value that may not be.
    """
    return _from_dict(Settings, data)


_SHORT = {
    each.name: default_of(each) for each in fields(Settings) if is_section(each) and default_of(each).SHORT
}

SHORT: dict[str, str] = {name: section.SHORT for name, section in _SHORT.items()}
"""Sections that may be written as one value, and which setting that is."""

SHORT_TYPES: dict[str, tuple[type, ...]] = {name: section.SHORT_TYPES for name, section in _SHORT.items()}
"""Of what type that value may be."""

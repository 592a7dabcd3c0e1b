"""YAML files, flags and ``key=value`` pairs become one validated, frozen config, and a sweep its cells.

Mistakes are reported all at once, each with where it was written: file:line:column, or the flag.
"""

from nst_jax.config.grid import Axis, Cell, axes, cells, picture_name
from nst_jax.config.loading import find, load, packaged
from nst_jax.config.models import INIT_SOURCES, LONGEST, STYLE_LAYERS, Config, Content, Style, StyleKind
from nst_jax.config.text import parse, to_yaml

__all__ = [
    "INIT_SOURCES",
    "LONGEST",
    "STYLE_LAYERS",
    "Axis",
    "Cell",
    "Config",
    "Content",
    "Style",
    "StyleKind",
    "axes",
    "cells",
    "find",
    "load",
    "packaged",
    "parse",
    "picture_name",
    "to_yaml",
]

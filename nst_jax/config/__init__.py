"""YAML files, flags and ``key=value`` pairs become one validated, frozen config, and a sweep its cells.

Mistakes are reported all at once, each with where it was written: file:line:column, or the flag.
"""

from nst_jax.config.grid import Axis, Cell, axes, cells
from nst_jax.config.loading import find, load, packaged
from nst_jax.config.models import INIT_SOURCES, Config
from nst_jax.config.text import parse, to_yaml

__all__ = [
    "INIT_SOURCES",
    "Axis",
    "Cell",
    "Config",
    "axes",
    "cells",
    "find",
    "load",
    "packaged",
    "parse",
    "to_yaml",
]

"""YAML files, flags and ``key=value`` pairs become `Settings`, and a sweep its cells.

Mistakes are reported all at once, each with where it was written: file:line:column, or the flag.
"""

from nst_jax.config.grid import Axis, Cell, axes, cells, picture_name
from nst_jax.config.loading import find, load, packaged
from nst_jax.config.text import parse, to_arguments, to_yaml

__all__ = [
    "Axis",
    "Cell",
    "axes",
    "cells",
    "find",
    "load",
    "packaged",
    "parse",
    "picture_name",
    "to_arguments",
    "to_yaml",
]

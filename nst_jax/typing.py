"""Words for types that only a reader can check."""

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""What JSON and YAML hold: null, truth values, numbers, texts, and lists and mappings of these."""

Tree: TypeAlias = Any
"""A pytree of arrays, or of their shapes."""

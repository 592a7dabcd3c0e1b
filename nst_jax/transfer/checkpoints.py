"""A solver's state on disk, so that interrupted work goes on bit for bit."""

import json
from pathlib import Path

import jax
import numpy as np

from nst_jax.files import replacing
from nst_jax.typing import Json


def save(path: Path, state: Json, about: dict[str, Json]) -> None:
    """Write the arrays of a pytree, and a dict of plain values about them, to an npz file.

    Raises:
        OutputError: the file cannot be written.
    """
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    with replacing(path) as file:
        # Not compressed: that would take longer than the work that it saves.
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **leaves)  # type: ignore[arg-type]


def about(path: Path) -> dict[str, Json]:
    """Return the plain values of what `save` wrote; nothing if there is nothing to read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(json.loads(stored["about"].tobytes()))
    except Exception:
        return {}


def load(path: Path, like: Json) -> tuple[Json, dict[str, Json]] | None:
    """Read what `save` wrote; None if there is nothing of the structure and shapes of ``like``."""
    leaves, structure = jax.tree.flatten(like)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            arrays = [stored[str(i)] for i in range(len(leaves))]
            whole = len(stored.files) == len(leaves) + 1
    except Exception:  # absent, or damaged in one of zipfile's many ways: the work is done again
        return None
    fitting = all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(arrays, leaves, strict=True))
    return (jax.tree.unflatten(structure, arrays), about) if whole and fitting else None

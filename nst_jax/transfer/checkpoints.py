"""A solver's state on disk, so that interrupted work goes on bit for bit; the first host has that of all."""

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import OutputError
from nst_jax.files import replacing
from nst_jax.solvers.streamed import Rows
from nst_jax.transfer import hosts
from nst_jax.typing import Json, Tree

SAVE_SECONDS = 20.0
SAVE_SHARE = 0.05
"""States are saved no more often than this, and take no more than this share of the time."""

Trouble = Callable[[OutputError], object]


class Checkpoint:
    """Where the state of a batch is kept while it runs, to be gone on with after an interruption.

    Args:
        path: the file; None: nothing is kept.
        made_by: all that what is kept must have been made by; plain values.
        passes: levels of the batch, and what follows at the last.
        trouble: told why nothing could be kept; without it that is raised.
    """

    def __init__(
        self, path: Path | None, made_by: dict[str, Json], passes: int, trouble: Trouble | None = None
    ) -> None:
        self.path, self.made_by, self.trouble = path, made_by, trouble
        self.saved, self.wait = time.perf_counter(), SAVE_SECONDS
        known = about(path) if path else {}
        same = all(known.get(key) == value for key, value in made_by.items())
        known = known if same and 0 <= known.get("level", -1) < passes else {}
        known = json.loads(hosts.told_text(json.dumps(known)))
        self.is_there = bool(known)
        """Whether there is anything to go on with."""
        self._is_to_resume = self.is_there
        self.level: int = known.get("level", 0)
        """The level to begin with."""
        self.before: int = known.get("before", 0)
        """Evaluations at the levels before that."""
        self.within: int = known.get("within", 0)
        """At that level, before a `looks.Turn`."""
        self.evaluations: int = known.get("evaluations", 0)
        """All so far."""
        self.seconds: float = known.get("seconds", 0.0)
        """Of the work so far."""
        self.plan: dict[str, Json] = known.get("plan", {})
        """What the state's program was chosen to be, for its problem to fit in memory."""
        self.notes: dict[str, Json] = known.get("notes", {})
        """What the caller wants to be kept besides."""

    def resume(self, like: Tree, level: int) -> Tree | None:
        """Return what was kept at a level, of the structure and shapes of ``like``; None if nothing was.

        Raises:
            OutputError: it cannot be read, and what the level began with is gone.
        """
        if not (self._is_to_resume and level == self.level):
            return None
        self._is_to_resume = False  # what is kept from here on is of this run
        found = load(self.path, like) if self.path else None
        if not hosts.told(found is not None):
            if level or self.within:
                raise OutputError(f"{self.path or 'what was kept'}: is damaged; remove it to begin anew")
            self.notes = {}
            return None
        return hosts.agreed(like if found is None else found[0])

    def is_due(self, *, last: bool) -> bool:
        """Tell whether it is time to keep a state, or the last moment."""
        is_due = bool(self.path) and (last or time.perf_counter() - self.saved > self.wait)
        return bool(hosts.told(is_due))

    def keep(self, state: Tree, **where: Json) -> None:
        """Keep a state that is due, and at which ``level`` and ``evaluations`` it is, and so on.

        Raises:
            OutputError: it cannot be written, and there is nobody to be told.
        """
        if not self.path:  # it is the first host that has one
            for _ in _pieces(jax.tree.leaves(state)):
                pass
            return
        begun = time.perf_counter()
        try:
            save(self.path, state, self.made_by | where | {"notes": self.notes})
            self.is_there = True
        except OutputError as error:
            if self.trouble is None:
                raise
            self.trouble(error)
            self.saved, self.wait = begun, float("inf")
            return
        self.saved = time.perf_counter()
        self.wait = max(SAVE_SECONDS, (self.saved - begun) / SAVE_SHARE)

    def forget(self) -> None:
        """Remove what was kept."""
        if self.path:
            self.path.unlink(missing_ok=True)
        self.is_there = False


def save(path: Path, state: Tree, about: dict[str, Json]) -> None:
    """Write the arrays and `Rows` of a pytree, and a dict of plain values about them, to an npz file.

    Raises:
        OutputError: the file cannot be written.
    """
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    leaves = jax.tree.leaves(state)
    pieces = _pieces(leaves)
    # Not compressed: that would take longer than the work that it saves.
    try:
        with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            with archive.open("about.npy", "w") as member:
                np.lib.format.write_array(member, text, allow_pickle=False)
            for number, found in groupby(pieces, itemgetter(0)):
                with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                    if isinstance(leaves[number], Rows):
                        _write_rows(member, leaves[number])
                    else:
                        _write_pieces(member, leaves[number], (piece for _, piece in found))
    finally:  # other hosts have begun to give theirs
        for _ in pieces:
            pass


def _pieces(leaves: Sequence[Tree]) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Give the arrays of a state in pieces, each with the number of its array; all hosts have to."""
    for number, leaf in enumerate(leaves):
        for piece in (np.empty(0),) if isinstance(leaf, Rows) else hosts.pieces(leaf):
            yield number, piece


def about(path: Path) -> dict[str, Json]:
    """Return the plain values of what `save` wrote; nothing if there is nothing to read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(json.loads(stored["about"].tobytes()))
    except Exception:
        return {}


def load(path: Path, like: Tree) -> tuple[Tree, dict[str, Json]] | None:
    """Read what `save` wrote; None if there is nothing of the structure and shapes of ``like``.

    The `Rows` of ``like`` are filled, which takes no memory for all of them.
    """
    leaves, structure = jax.tree.flatten(like)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if len(stored.files) != len(leaves) + 1:
                return None
            found = [_read(stored, str(i), leaf) for i, leaf in enumerate(leaves)]
    except Exception:  # absent, or damaged in one of zipfile's many ways: the work is done again
        return None
    return None if any(leaf is None for leaf in found) else (jax.tree.unflatten(structure, found), about)


def _read(stored: Any, name: str, like: Any) -> Any:
    """Return an array of an npz file, or the rows that are filled with it; None if it is of another form."""
    if not isinstance(like, Rows):
        array = stored[name]
        return array if (array.shape, array.dtype) == (like.shape, like.dtype) else None
    with stored.zip.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if (shape, dtype) != (like.shape, like.bits):
            return None
        like.fill(member)
    return like


def _write_pieces(member: IO[bytes], leaf: Tree, pieces: Iterable[NDArray[np.generic]]) -> None:
    descr = np.lib.format.dtype_to_descr(leaf.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": tuple(leaf.shape)}
    np.lib.format.write_array_header_1_0(member, header)
    for piece in pieces:
        member.write(np.ascontiguousarray(piece).data)


def _write_rows(member: IO[bytes], rows: Rows) -> None:
    header = {"descr": rows.bits.str, "fortran_order": False, "shape": rows.shape}
    np.lib.format.write_array_header_1_0(member, header)
    for block in rows.blocks():
        member.write(block)

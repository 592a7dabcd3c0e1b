"""Problems as bytes for other machines, without what many of them share: the network and large arrays.

Those have names by what is in them, and travel by themselves, once.
"""

import hashlib
import io
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network

LARGE = 2**12
"""Arrays of so many bytes travel by themselves."""


class Packer:
    """Packs things, and keeps what they share."""

    def __init__(self) -> None:
        self.shared: dict[str, Json] = {}
        """By name."""
        self._named: dict[int, tuple[str, Json]] = {}

    @property
    def nbytes(self) -> int:
        """Of all that is shared."""
        return sum(map(_nbytes, self.shared.values()))

    def pack(self, what: object) -> tuple[bytes, list[str]]:
        """Return something as bytes, and the names of what it shares."""
        file = io.BytesIO()
        pickler = _Pickler(file, self._name)
        pickler.dump(what)
        return file.getvalue(), list(pickler.names)

    def _name(self, part: Json) -> str:
        if id(part) not in self._named:
            name = _digest(part)
            self.shared.setdefault(name, part)
            self._named[id(part)] = name, part  # which is kept, for ids of what is gone are given again
        return self._named[id(part)][0]


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, name: Callable[[Json], str]) -> None:
        super().__init__(file, protocol=5)
        self.name = name
        self.names: dict[str, None] = {}

    def persistent_id(self, part: Json) -> str | None:
        """Return the name of what travels by itself."""
        from nst_jax.pretrained.network import Network

        if not isinstance(part, Network) and not (isinstance(part, np.ndarray) and part.nbytes >= LARGE):
            return None
        name = self.name(part)
        self.names[name] = None
        return name


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: Callable[[str], Json]) -> None:
        super().__init__(file)
        self.shared = shared

    def persistent_load(self, name: str) -> Json:
        """Return what has the name."""
        return self.shared(name)


def unpacked(data: bytes, shared: Callable[[str], Json]) -> Json:
    """Return what was packed; ``shared`` returns by name what travelled by itself."""
    return _Unpickler(io.BytesIO(data), shared).load()


def _digest(part: "np.ndarray[Json, Json] | Network") -> str:
    if isinstance(part, np.ndarray):
        whole = np.ascontiguousarray(part)
        about = f"{whole.dtype.str} {whole.shape} "
        return hashlib.blake2b(about.encode() + whole.tobytes(), digest_size=16).hexdigest()
    import jax  # late: mistakes should not wait for it

    digest = hashlib.blake2b(repr(part.record()).encode(), digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(part.params):
        digest.update(f"{path} {leaf.shape}".encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _nbytes(part: "np.ndarray[Json, Json] | Network") -> int:
    if isinstance(part, np.ndarray):
        return part.nbytes
    import jax

    return sum(leaf.nbytes for leaf in jax.tree.leaves(part.params))

"""L-BFGS whose memory lies outside of the device, on the host or in a file, and is read a part at a time.

The two-loop recursion needs only the products of what is remembered with one another and with the gradient:
it is done on coefficients, after one pass through the memory for the products that are new, and before
another for the direction (Chen, Wang & Zhou, "Large-scale L-BFGS using MapReduce", NIPS 2014, algorithm 3).
So memory is read twice a step, however many pairs there are, and never is there more of it than a chunk.
For a memory on the device see `compact`.
"""

import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from nst_jax import files
from nst_jax.errors import NstError
from nst_jax.solvers.state import (
    FIRST_STEP,
    RUNNING,
    SHORTEN,
    Fun,
    Method,
    State,
    begun,
    is_good,
    moved_to,
    placeholders,
    scale_of,
    scaled,
    share_of,
)
from nst_jax.typing import Tree

PLACES = ("host", "disk")
"""Of `settings.Solver.history_on`, those that are meant."""

CHUNK = 2**18
"""So many elements of each vector are looked at together."""

Vector = NDArray[np.float32]
Products = NDArray[np.float64]


def evaluating(fun: Fun) -> Method:
    """Return what only looks: what takes the steps is `Steps`, which puts the next x into the state.

    A step leaves in ``inner`` the last good value, scaled, the gradient, and whether the present value and
    gradient are good, as `lbfgs.lbfgs` judges them.
    """
    evaluate = scaled(fun)

    def init(x: Array, *args: Tree) -> State:
        value, aux = placeholders(fun, x, args)
        return begun(x, value, aux, (value, jnp.zeros_like(x), jnp.asarray(True)))

    def step(state: State, *args: Tree) -> State:
        (now, (value, aux)), grad = evaluate(state.x, state.scale, *args)
        last, first = state.inner[0], state.evaluations == 0
        good = is_good(now, jnp.sum(jnp.square(grad)), last)
        share = share_of(fun, state.x, args)
        scale = jnp.where(first & good, scale_of(grad, FIRST_STEP, share), state.scale)
        inner = (jnp.where(good, value * scale, last), grad * (scale / state.scale), good)
        return moved_to(state, state.x, value, aux, good, scale, state.evaluations + 1, inner)

    return Method(init, step)


class Steps:
    """Takes steps of L-BFGS by an evaluation, and remembers their pairs.

    As in `lbfgs.lbfgs`, every step is the full quasi-Newton step, pairs without positive curvature are void,
    and a step to a value that is not good is taken back, and tried again shorter.

    Args:
        evaluate: the step of `evaluating`, with its arguments filled in; it may consume the state.
        size: elements of x.
        history: pairs to keep.
        is_short: whether pairs are of bfloat16 and not of float32: half as large. All products are of them as
            they are kept.
        folder: where the file is to be; None: on the host.
        is_new: tells whether the function is another than at the evaluation before, so that the two gradients
            make no pair.

    Raises:
        NstError: there is no room for the file.
    """

    def __init__(
        self,
        evaluate: Callable[[State], State],
        *,
        size: int,
        history: int,
        is_short: bool = False,
        folder: Path | None = None,
        is_new: Callable[[], bool] = lambda: False,
    ) -> None:
        self.evaluate, self.size, self.history, self.is_new = evaluate, size, history, is_new
        self.pairs = Rows(2 * history, size, jnp.bfloat16 if is_short else np.float32, folder)
        self.last = Rows(2, size, np.float32, folder)
        self.known = {
            "products": np.zeros((2 * history, 2 * history)),
            "with_gradient": np.zeros(2 * history),
            "curvature": np.zeros(history),
            "order": np.full(history, -1),
            "taken": np.zeros((), np.int64),
            "gamma": np.ones(()),
        }

    def __call__(self, state: State) -> State:
        """Evaluate x, and put the next one into the state; the state given is consumed."""
        if state.status != RUNNING:
            return state
        first = state.evaluations == 0
        state = self.evaluate(state)
        _, grad, good = state.inner
        if good:
            self._remember(_flat(state.x), _flat(grad), is_pair=not first and not self.is_new())
        if state.status != RUNNING:
            return state
        x = self._next(SHORTEN ** int(state.refused))
        return replace(state, x=jnp.array(x.reshape(state.x.shape)))

    def _remember(self, x: Vector, grad: Vector, *, is_pair: bool) -> None:
        """Keep a pair, s = x - x' and y = g - g', if it is one, and all products with it and the gradient."""
        known, m = self.known, self.history
        slot = int(known["taken"] % m)
        found = np.zeros((2 * m, 3))
        for part in _chunks(self.size):
            new = [np.zeros_like(x[part])] * 2
            if is_pair:
                new = [now[part] - self.last.read(i, part) for i, now in enumerate((x, grad))]
                for row, values in zip((slot, m + slot), new, strict=True):
                    self.pairs.write(row, part, values)
                new = [self.pairs.read(row, part) for row in (slot, m + slot)]  # as they are kept
            for i, values in enumerate((x[part], grad[part])):
                self.last.write(i, part, values)
            found += self._products(part, [*new, grad[part]])
        known["with_gradient"][:] = found[:, 2]
        if not is_pair:
            return
        for row, column in ((slot, 0), (m + slot, 1)):
            known["products"][row, :] = known["products"][:, row] = found[:, column]
        curvature = known["products"][slot, m + slot]
        known["curvature"][slot] = max(0.0, curvature)
        if curvature > 0:
            known["gamma"][...] = curvature / known["products"][m + slot, m + slot]
        known["order"][slot] = known["taken"]
        known["taken"] += 1

    def _products(self, part: slice, others: Sequence[Vector]) -> Products:
        """Return the products of all that is remembered with some vectors, of a part of them all."""
        found = np.zeros((2 * self.history, len(others)))
        columns = np.stack(others, 1)
        for row in self._rows():
            found[row] = self.pairs.read(row, part) @ columns
        return found

    def _rows(self) -> list[int]:
        """Return the rows that hold anything."""
        used = min(self.history, int(self.known["taken"]) + 1)
        return [*range(used), *range(self.history, self.history + used)]

    def _next(self, length: float) -> Vector:
        """Return x' + length * d, of the last good x' and the direction d."""
        share, of_gradient = self._coefficients()
        x = np.empty(self.size, np.float32)
        rows = [row for row in self._rows() if share[row]]
        for part in _chunks(self.size):
            direction = of_gradient * self.last.read(1, part)
            for row in rows:
                direction += np.float32(share[row]) * self.pairs.read(row, part)
            x[part] = self.last.read(0, part) + np.float32(length) * direction
        return x

    def _coefficients(self) -> tuple[Products, np.float32]:
        """Return what the direction has of each s and y, and of the gradient."""
        known, m = self.known, self.history
        B, g = known["products"], known["with_gradient"]
        share, of_gradient = np.zeros(2 * m), -1.0
        curvature = known["curvature"]
        slots = [int(slot) for slot in np.argsort(known["order"]) if curvature[slot] > 0]
        alpha = {}
        for slot in reversed(slots):
            alpha[slot] = (share @ B[:, slot] + of_gradient * g[slot]) / curvature[slot]
            share[m + slot] -= alpha[slot]
        share, of_gradient = share * known["gamma"], float(of_gradient * known["gamma"])
        for slot in slots:
            beta = (share @ B[:, m + slot] + of_gradient * g[m + slot]) / curvature[slot]
            share[slot] += alpha[slot] - beta
        return share, np.float32(of_gradient)

    @property
    def kept(self) -> dict[str, Any]:
        """All that is remembered: numbers, which may be set to what they were, and `Rows`, to be filled."""
        return self.known | {"pairs": self.pairs, "last": self.last}

    @kept.setter
    def kept(self, before: dict[str, Any]) -> None:
        for name in self.known:
            self.known[name][...] = before[name]


def nbytes(size: int, history: int, *, is_short: bool) -> int:
    """Return what `Steps` keep of vectors of a size, in bytes."""
    return 2 * history * size * (2 if is_short else 4) + 2 * size * 4


def check_room(folder: Path, nbytes: int) -> None:
    """Raise NstError if there is no room for a file of so many bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NstError(f"the history cannot be kept in {folder}: {error.strerror}") from None
    files.check_room(folder, nbytes, "the history", "free some, or set NST_JAX_CACHE to a folder on another")


class Rows:
    """Vectors of one length outside of the device, given and taken as float32.

    A file is read and written, not mapped: mapped, what of it the system holds would count as memory of this
    process. It has no name, so that nothing is left of it, however the process ends.
    """

    def __init__(self, count: int, size: int, dtype: Any, folder: Path | None) -> None:
        self.count, self.size, self.dtype = count, size, np.dtype(dtype)
        self.array: NDArray[Any] | None = None
        if folder is None:
            self.array = np.zeros((count, size), self.dtype)
            return
        needed = count * size * self.dtype.itemsize
        check_room(folder, needed)
        try:
            self.file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise NstError(f"the history cannot be kept in {folder}: {error.strerror}") from None
        weakref.finalize(self, self.file.close)
        self.file.truncate(needed)

    def read(self, row: int, part: slice) -> Vector:
        """Return a part of a vector."""
        if self.array is not None:
            found: Vector = self.array[row, part].astype(np.float32)
            return found
        found = np.empty(part.stop - part.start, self.dtype)
        left = self._bytes(found, row, part)
        while left:
            left = left[self.file.readinto(left) or _ended() :]
        return found.astype(np.float32, copy=False)

    def write(self, row: int, part: slice, values: Vector) -> None:
        """Set a part of a vector."""
        if self.array is not None:
            self.array[row, part] = values
            return
        left = self._bytes(np.ascontiguousarray(values, self.dtype), row, part)
        while left:
            left = left[int(self.file.write(left)) :]

    @property
    def shape(self) -> tuple[int, int]:
        """Of all vectors."""
        return self.count, self.size

    @property
    def bits(self) -> np.dtype[Any]:
        """The type of their numbers, or where NumPy's files know no such, of the same bits."""
        return np.dtype(np.uint16) if self.dtype.itemsize == 2 else self.dtype

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of all vectors, one after the other, a part at a time."""
        for row in range(self.count):
            for part in _chunks(self.size):
                yield self.read(row, part).astype(self.dtype).tobytes()

    def fill(self, file: IO[bytes]) -> None:
        """Set all vectors to what `blocks` gave.

        Raises:
            EOFError: there is less.
        """
        for row in range(self.count):
            for part in _chunks(self.size):
                wanted = (part.stop - part.start) * self.dtype.itemsize
                data = file.read(wanted)
                if len(data) < wanted:
                    raise EOFError
                self.write(row, part, np.frombuffer(data, self.dtype).astype(np.float32))

    def _bytes(self, values: NDArray[Any], row: int, part: slice) -> memoryview:
        """Return values as bytes, with the file at their place."""
        self.file.seek((row * self.size + part.start) * self.dtype.itemsize)
        return memoryview(values.view(np.uint8))  # type: ignore[arg-type]


def _chunks(size: int) -> Iterator[slice]:
    return (slice(begin, min(begin + CHUNK, size)) for begin in range(0, size, CHUNK))


def _ended() -> int:
    raise OSError("the file of the history has become shorter")


def _flat(x: Array) -> Vector:
    found: Vector = np.asarray(jax.device_get(x)).reshape(-1)
    return found

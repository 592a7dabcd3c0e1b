"""Several hosts that paint one picture: how a process joins them, and what they tell each other.

All processes run the same program in the same order, each on its own devices. The first one alone writes,
shows and decides; the others follow. What depends on clocks, free memory, files or signals is `told` or
`agreed`, so that no two processes take different ways. With one process nothing here does anything.

JAX is imported late: a process joins before JAX makes its devices.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import ConfigError, HostsError, NstError
from nst_jax.typing import Tree

PATIENCE = 120
"""Seconds for which hosts are waited for at the beginning."""

HEARTBEAT = 100
"""Seconds after which a host that cannot be reached is taken for dead, and the others end; JAX's default."""

PARTING = 30
"""Seconds for which they wait for each other at the end."""

PIECE = 2**26
"""Bytes that are told at once: they lie on each device meanwhile."""

_TAKE, _FAILED = 2, 3
"""What the first process says in `led` besides 0 and 1, which all say: whether to end."""

_count, _index = 1, 0


def count() -> int:
    """Return how many processes there are."""
    return _count


def is_first() -> bool:
    """Tell whether this process is the one that writes, shows and decides."""
    return _index == 0


def join(address: str | None = None, processes: int | None = None, index: int | None = None) -> None:
    """Become one of several processes; of a cluster that JAX knows, it knows the address and numbers too.

    Where that fails, JAX ends the process, in its own words.

    Raises:
        ConfigError: there is no such cluster, or the hosts have other devices than each other.
    """
    global _count, _index
    import jax

    # It would take SIGTERM to itself, by which schedulers end work.
    jax.config.update("jax_enable_preemption_service", False)  # type: ignore[no-untyped-call]
    try:
        jax.distributed.initialize(
            address,
            processes,
            index,
            initialization_timeout=PATIENCE,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=PARTING,
            cluster_detection_method="deactivate" if address else None,
        )
        _count, _index = jax.process_count(), jax.process_index()
    except (ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        if address is None:
            why = f"auto: JAX knows of no cluster here ({why}): give COORDINATOR:PORT,COUNT,NUMBER"
        raise ConfigError(f"--hosts {why}") from None
    kinds = {(device.platform, device.device_kind) for device in jax.devices()}
    counts = Counter(device.process_index for device in jax.devices())
    if len(kinds) > 1 or len(set(counts.values())) > 1:
        every = {d.process_index: f"{counts[d.process_index]} x {d.device_kind}" for d in jax.devices()}
        what = ", ".join(f"host {number} has {text}" for number, text in every.items())
        part()
        raise ConfigError(f"--hosts: all hosts should have the same devices: {what}")


def part() -> None:
    """Go on alone; all processes have to, for they wait for each other."""
    global _count
    if _count > 1:
        import jax

        _count = 1
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Make a mistake of any process one of all, which then part.

    Raises:
        NstError: the first one's.
    """
    if _count == 1:
        yield
        return
    mine: NstError | None = None
    try:
        yield
    except NstError as error:
        mine = error
    with reached():
        texts = every(str(mine or ""))
    for number, text in enumerate(texts):
        if text:
            part()
            raise mine or HostsError(f"host {number}: {text}")


@contextlib.contextmanager
def reached() -> Iterator[None]:
    """Part if all have made the same mistake, and say in one line that another host has ended.

    Raises:
        HostsError: so it is.
    """
    try:
        yield
    except NstError:
        part()
        raise
    except (ValueError, RuntimeError) as error:  # JAX's own is a RuntimeError
        if _count == 1 or not any(word in str(error) for word in _OF_THE_NETWORK):
            raise
        raise HostsError(LOST) from None


_OF_THE_NETWORK = ("Gloo", "NCCL", "Socket closed", "oordination", "UNAVAILABLE")
LOST = (
    "another host has ended, or cannot be reached any more: see what it says; "
    "the same command goes on from the state that was kept last"
)


def agreed(tree: Tree) -> Tree:
    """Return the first process's arrays and numbers, bit for bit, on the host; all have the same shapes."""
    if _count == 1:
        return tree
    import jax

    leaves, structure = jax.tree.flatten(tree)
    arrays = [_room(leaf) for leaf in leaves]
    if sum(array.nbytes for array in arrays) <= PIECE:  # all at once
        data = np.concatenate([_bytes(array) for array in arrays])
        _send(data)
        parts = np.split(data, np.cumsum([array.nbytes for array in arrays])[:-1])
        arrays = [p.view(each.dtype).reshape(each.shape) for p, each in zip(parts, arrays, strict=True)]
    else:
        for array in arrays:
            _send(_bytes(array))
    return jax.tree.unflatten(structure, arrays)


def _room(leaf: Tree) -> NDArray[np.generic]:
    """Return the array of the first host, and on another room for it: that may have its shape only."""
    if is_first():
        return np.ascontiguousarray(leaf).reshape(np.shape(leaf))
    return np.empty(np.shape(leaf), leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype)


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def _send(data: NDArray[np.uint8]) -> None:
    """Write the first process's bytes into those of all others; all have as many."""
    from jax.experimental import multihost_utils

    for begin in range(0, data.size, PIECE):
        piece = data[begin : begin + PIECE]
        padded = np.zeros(max(256, 1 << (piece.size - 1).bit_length()), np.uint8)  # few sizes: few programs
        padded[: piece.size] = piece
        found = multihost_utils.broadcast_one_to_all(padded)
        if not is_first():
            piece[:] = np.asarray(found)[: piece.size]


def told(value: int) -> int:
    """Return the first process's number."""
    return value if _count == 1 else int(agreed(np.asarray(value, np.int64)))


def told_text(text: str) -> str:
    """Return the first process's text."""
    return text if _count == 1 else every(text)[0]


def every(text: str) -> list[str]:
    """Return the texts of all processes."""
    if _count == 1:
        return [text]
    data = text.encode()
    sizes = gathered(len(data))
    room = 1 << max(8, (max(sizes) - 1).bit_length())
    padded = np.zeros(room, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    from jax.experimental import multihost_utils

    found = np.asarray(multihost_utils.process_allgather(padded))
    return [each[:size].tobytes().decode() for each, size in zip(found, sizes, strict=True)]


def gathered(value: int) -> list[int]:
    """Return the numbers of all processes, each less than 2^31."""
    if _count == 1:
        return [value]
    from jax.experimental import multihost_utils

    return [int(each) for each in np.ravel(multihost_utils.process_allgather(np.int32(value)))]


def led(decide: Callable[[Callable[[], Tree]], object], take: Callable[[], Tree]) -> object:
    """Return what the first process decides; and True if it does not, but another one wants to end.

    Args:
        decide: returns it, given a function that does what ``take`` does, as often as it is called. Only the
            first process may call that.
        take: what all processes have to do together.

    Raises:
        HostsError: the first process has failed to decide.
    """
    if _count == 1:
        return decide(take)
    if not is_first():
        wants = int(decide(take) is True)
        while (said := gathered(wants))[0] == _TAKE:
            take()
        if said[0] == _FAILED:
            part()
            raise HostsError("the first host could not go on: see what it says")
        return any(said[1:]) or said[0] == 1

    def taken() -> Tree:
        gathered(_TAKE)
        return take()

    try:
        asked = decide(taken)
    except Exception:
        gathered(_FAILED)
        part()
        raise
    return any(gathered(int(asked is True)))


def whole(array: Tree) -> Tree:
    """Return an array that lies in parts on several hosts, or the first one's, on all of them."""
    if _count == 1 or (array.is_fully_replicated and not array.is_fully_addressable):
        return np.asarray(array)
    if array.is_fully_addressable:
        return np.asarray(agreed(array))
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def pieces(array: Tree) -> Iterator[NDArray[np.generic]]:
    """Give an array on the host; if it is large, one after the other what its first axis counts.

    All processes have to, to the end.
    """
    if _count == 1 or getattr(array, "is_fully_addressable", True) or array.ndim < 4:
        yield np.asarray(array) if getattr(array, "is_fully_addressable", True) else whole(array)
        return
    import jax

    one = jax.jit(lambda array, number: array[number])
    for number in range(array.shape[0]):
        yield whole(one(array, np.int32(number)))


def most(numbers: Sequence[int]) -> list[int]:
    """Return the greatest of all processes' numbers, one by one."""
    return [-each for each in least([-each for each in numbers])]


def least(numbers: Sequence[int]) -> list[int]:
    """Return the least of all processes' numbers, one by one."""
    if _count == 1:
        return list(numbers)
    from jax.experimental import multihost_utils

    # Halves, for JAX has no 64 bits by default.
    parts = np.frombuffer(np.asarray(numbers, np.int64).tobytes(), np.int32)
    found = np.ascontiguousarray(multihost_utils.process_allgather(parts), np.int32)
    return [int(each) for each in found.view(np.int64).min(0)]

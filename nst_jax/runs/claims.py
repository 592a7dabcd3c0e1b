"""Who works in a folder: shards by number, each one process's, or any number of processes that share all."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from nst_jax.errors import OutputError
from nst_jax.files import LockedError, locked, make_folder

AUTO = "auto"
"""Name of the shard that any number of processes share."""

ALL = "1-of-1"
"""Name of the shard that is all there is to do."""

_AUTOS = f"{AUTO}-*.lock"

_GUARD = "claims.lock"
"""Held by who begins, and by who ends and looks whether it is the last."""

_WAIT = 60.0

_Begun = TypeVar("_Begun")


@contextmanager
def claimed(
    states: Path,
    name: str,
    busy: str,
    begin: Callable[[], _Begun],
    tidy: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Path, _Begun]]:
    """Claim a shard of what is painted into a folder; give a folder for what is kept, and what was begun.

    Args:
        states: the hidden folder in that, which is there only while it is of use.
        name: of the shard: `AUTO`, or as of numbers such as `ALL`.
        busy: what to say if another process has the shard.
        begin: called when it is claimed and no other process can begin.
        tidy: removes what processes have left that were killed. Called at the beginning, and by the last of
            those that share all at its end; on a drive without locks, which is that is not known.

    Raises:
        OutputError: the folder cannot be written, another process has the shard, or one of the other kind:
            those of numbers and `AUTO` do not know of each other's work.
    """
    is_claimed = False
    make_folder(states)
    try:
        with ExitStack() as claims:
            with locked(states / _GUARD, f"{states.parent}: another process is at it", wait=_WAIT):
                _refuse_others(states, name)
                others = _others(states)
                is_locked = claims.enter_context(_lock(states, name, busy))
                if name != AUTO or (is_locked and not others):
                    tidy()
                make_folder(states / name)
                begun, is_claimed = begin(), True
            yield states / name, begun
    finally:
        if name == AUTO and is_claimed:
            with suppress(OutputError), locked(states / _GUARD, "", wait=_WAIT) as is_locked:
                if not _others(states) and is_locked:
                    tidy()
        for path in (states / name, states):
            with suppress(OSError):  # there are states, or another shard is still at work
                path.rmdir()


def processes(states: Path) -> int:
    """Return how many processes share all, as far as their locks tell."""
    return sum(1 for _ in states.glob(_AUTOS))


def _refuse_others(states: Path, name: str) -> None:
    """Refuse to work beside shards of the other kind."""
    if name == AUTO:
        others, beside = (
            "*-of-*.lock",
            "a process without --shard auto is painting it: wait for it or stop it",
        )
    else:
        others, beside = (
            _AUTOS,
            "processes with --shard auto are painting it: give that as well, or stop them",
        )
    for path in states.glob(others):
        with locked(path, f"{states.parent}: {beside}"):
            pass  # nobody holds it


def _others(states: Path) -> list[Path]:
    """Return the locks of processes that share all and are alive; those of the killed go."""
    found = []
    for path in states.glob(_AUTOS):
        try:
            with locked(path, ""):
                pass
        except LockedError:
            found.append(path)
    return found


def _lock(states: Path, name: str, busy: str) -> AbstractContextManager[bool]:
    if name == AUTO:  # each has its own, for which others only look
        return locked(states / f"{AUTO}-{secrets.token_hex(4)}.lock", f"{states}: is busy", wait=_WAIT)
    return locked(states / f"{name}.lock", busy)

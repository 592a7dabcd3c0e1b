"""Leases in a folder that several machines share: each task is one process's at a time, until that dies.

A lease is a file ``NAME.1`` that only one process can make, and in which that counts on for as long as it is
alive. Where it has not counted for the time of a lease, by the clock of whoever looks, it is dead: who makes
``NAME.2`` has taken over. No two clocks are compared, nothing is renamed and nothing removed before all is
done, so that of those who try to take over exactly one can, on network drives as well.

What is done is no longer counted in, and told by what was made of it. Until that is seen, which may take some
time on a network drive, the task is held like any other.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from nst_jax.errors import OutputError
from nst_jax.files import whoever

SECONDS = 60.0
"""Time of a lease. Network drives may show a change half a minute late, and be away for a moment."""

BEATS = 4
"""So many times in that does its holder count."""

PATIENCE = 2.0
"""Seconds between two looks at what others hold, at most."""

Stand = Literal["new", "held", "free"]
"""Of a task: nobody ever took it, somebody holds it, or who held it gave it back or is dead."""

_Read = TypeVar("_Read")

_TRIES = 5
"""Of what a network drive refuses with a stale handle, as it does for a moment after a change."""


class Leases:
    """The leases of this process in a folder, and what it knows of those of others. For threads to share.

    Within ``with`` the leases are kept; at its end those that are held still are given back.

    Args:
        folder: one that is there.
        seconds: time of a lease, the same for all processes.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self.folder, self.seconds = folder, seconds
        self.patience = min(PATIENCE, seconds / BEATS)
        self._mine: dict[str, int] = {}
        """Generations that this process holds, by the names of tasks."""
        self._lost: set[str] = set()
        self._last: dict[str, int] = {}
        """The last generations that are known."""
        self._seen: dict[str, tuple[bytes, float]] = {}
        """What was in files of others, and since when by this process's clock."""
        self._count, self._holder = 0, whoever()
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._heart = threading.Thread(target=self._beat, name="leases", daemon=True)

    def __enter__(self) -> Self:
        """Begin to keep leases."""
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is held still."""
        self._ended.set()
        self._heart.join()
        for name in list(self._mine):
            self.give_back(name)

    def stands(self, names: Iterable[str]) -> dict[str, Stand]:
        """Return how tasks stand that this process does not hold, as far as the folder tells.

        If that is gone, as it is when all is done, they are free.

        Raises:
            OutputError: the folder cannot be read.
        """
        with self._lock:
            files = _patiently(lambda: os.listdir(self.folder), self.folder)
            if files is None:
                return dict.fromkeys(names, "free")
            for file in files:
                name, _, generation = file.rpartition(".")
                if generation.isdecimal():
                    self._last[name] = max(self._last.get(name, 0), int(generation))
            return {name: self._stand(name) for name in names}

    def _stand(self, name: str) -> Stand:
        if name not in self._last:
            return "new"
        now, path = time.monotonic(), self._path(name, self._last[name])  # the time before what is read then
        found = _patiently(path.read_bytes, path)
        if found is None:  # removed, as all is at the end
            return "free"
        before, since = self._seen.get(path.name, (None, now))
        if found != before:
            self._seen[path.name] = found, now
            return "free" if _is_given_back(found) else "held"
        return "free" if _is_given_back(found) or now - since >= self.seconds else "held"

    def take(self, name: str) -> bool:
        """Take a task that `stands` did not tell to be held; return whether it is this process's now.

        Raises:
            OutputError: the folder cannot be written.
        """
        with self._lock:
            generation = self._last.get(name, 0) + 1
            path = self._path(name, generation)
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
                with open(file, "wb") as opened:
                    opened.write(self._text())
            except FileExistsError:
                self._last[name] = generation
                return False
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
            self._last[name] = self._mine[name] = generation
            self._lost.discard(name)
            return True

    def generation(self, name: str) -> int:
        """Return how many have held a task that this process holds, itself included."""
        return self._mine[name]

    def is_lost(self, name: str, *, surely: bool = False) -> bool:
        """Tell whether a task that was taken has been taken over, as may be if the process was stopped.

        Args:
            name: of the task.
            surely: whether to look, in place of telling what was found when it counted last.
        """
        if surely:
            with self._lock:
                self._renew(name)
        return name in self._lost

    def end(self, name: str) -> None:
        """Keep a lease no longer, of a task that is done, as others see by what was made."""
        with self._lock:
            self._mine.pop(name, None)

    def give_back(self, name: str) -> None:
        """Let others have a task at once; what was lost is theirs already."""
        with self._lock:
            generation = self._mine.pop(name, None)
            if generation and name not in self._lost:
                with suppress(OSError):  # then they have it later
                    self._write(self._path(name, generation), is_given_back=True)

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Do what one process does at a time; tell whether the folder is there still: it goes with the last.

        Raises:
            OutputError: the folder cannot be used.
        """
        while self.folder.is_dir() and (self.stands([name])[name] == "held" or not self._taken(name)):
            time.sleep(self.patience)
        is_there = name in self._mine
        try:
            yield is_there
        finally:
            self.give_back(name)

    def _taken(self, name: str) -> bool:
        try:
            return self.take(name)
        except OutputError:
            if self.folder.is_dir():
                raise
            return False

    def _beat(self) -> None:
        while not self._ended.wait(self.seconds / BEATS):
            with self._lock:
                self._count += 1
                for name in self._mine:
                    self._renew(name)

    def _renew(self, name: str) -> None:
        """Count on in a file, unless another process has taken over."""
        if name not in self._mine or name in self._lost:
            return
        generation = self._mine[name]
        try:
            if self._path(name, generation + 1).exists():
                raise FileNotFoundError
            self._write(self._path(name, generation))
        except FileNotFoundError:
            self._lost.add(name)
        except OSError:  # the drive is away, perhaps for a moment only
            pass

    def _write(self, path: Path, *, is_given_back: bool = False) -> None:
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)  # not made anew, if it is gone
        with open(file, "wb") as opened:
            opened.write(self._text(is_given_back=is_given_back))

    def _text(self, *, is_given_back: bool = False) -> bytes:
        return json.dumps({"free": is_given_back, "count": self._count, "holder": self._holder}).encode()

    def _path(self, name: str, generation: int) -> Path:
        return self.folder / f"{name}.{generation}"


def _is_given_back(text: bytes) -> bool:
    try:
        return bool(json.loads(text)["free"])
    except (ValueError, KeyError, TypeError):  # half of it is written
        return False


def _patiently(read: Callable[[], _Read], path: Path) -> _Read | None:
    """Return what is read, or None if there is nothing; stale handles are waited for.

    Raises:
        OutputError: it cannot be read.
    """
    for left in reversed(range(_TRIES)):
        try:
            return read()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ESTALE or not left:
                raise OutputError(f"{path}: cannot be read: {error.strerror or error}") from None
        time.sleep(0.1)
    raise AssertionError

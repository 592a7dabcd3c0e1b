"""Files that appear whole or not at all, locks that end with their process, the folder for what is kept."""

import contextlib
import datetime
import errno
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import filelock
import platformdirs

from nst_jax.errors import OutputError


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, as `replacing` does.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a temporary file beside ``path``; afterwards it is synced to disk and renamed over it.

    A failure or a kill at any moment leaves the file that was there before, or the whole new one. A symbolic
    link stays, and the file that it points to is replaced.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    try:
        with temporary.open("xb") as file:  # the kernel applies the umask, as to any other file
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):  # such as that it was never made
            temporary.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
        raise


def _temporary(path: Path) -> Path:
    token = secrets.token_hex(4)
    name = f".{path.name}.{token}.partial"
    return path.with_name(name if len(os.fsencode(name)) <= _LONGEST_NAME else f".{token}.partial")


_LONGEST_NAME = 255
"""Bytes of a name, on the file systems in use."""


def copied(source: Path, path: Path) -> None:
    """Copy a file to ``path``, as `replacing` does.

    Raises:
        OutputError: it cannot be read, or not be written there.
    """
    with replacing(path) as file, source.open("rb") as old:
        shutil.copyfileobj(old, file)


def rescued(write: Callable[[Path], object], suffix: str, beside: Path) -> Path | None:
    """Write what cannot be written to its place somewhere else, and return where; None if nowhere.

    Tried are the folder of the place, then the one for temporary files.
    """
    for folder in (beside.parent, Path(tempfile.gettempdir())):
        path = folder / f"nst-jax-{secrets.token_hex(4)}{suffix}"
        with contextlib.suppress(OutputError):
            write(path)
            return path
    return None


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, unless they are there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made: {error.strerror or error}") from None


def check_folder(path: Path) -> None:
    """Refuse a path that cannot be written, as far as can be told without writing: better before the work.

    Raises:
        OutputError: its folder is missing or may not be written to, it is a folder, or the system cannot have
            a file of that name.
    """
    try:
        target = Path(os.path.realpath(path))
        folder = target.parent
        if not folder.is_dir():
            raise OutputError(
                f"{path}: the folder {folder if path.is_symlink() else path.parent} does not exist"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: the folder {folder} is not writable")
        with contextlib.suppress(FileNotFoundError):  # other errors are of names that cannot be
            if stat.S_ISDIR(target.lstat().st_mode):
                raise OutputError(f"{path}: is a folder; give the name of a file")
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def check_room(folder: Path, nbytes: float, what: str, otherwise: str) -> None:
    """Refuse work for which the disk of a folder has no room.

    Args:
        folder: one that exists.
        nbytes: that it takes.
        what: needs them, in words.
        otherwise: what to do if they are not there, in words.

    Raises:
        OutputError: there is less, or the disk cannot be looked at.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    if free < nbytes:
        needed = f"{what} needs {nbytes / 2**30:.2f} GiB of the disk of {folder}"
        raise OutputError(f"{needed}, which has {free / 2**30:.2f}: {otherwise}")


def same_file(path: Path, others: Iterable[Path]) -> Path | None:
    """Return which of others is the same file as a path, through links of any kind too; None if none is."""
    with contextlib.suppress(OSError, ValueError):
        mine = path.stat()
        for other in others:
            with contextlib.suppress(OSError):
                if os.path.samestat(mine, other.stat()):
                    return other
    return None


_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class LockedError(OutputError):
    """Another process works there."""


@contextlib.contextmanager
def locked(path: Path, busy: str, *, wait: float = 0.0) -> Iterator[bool]:
    """Hold a lock that ends with the process, however that ends; a file beside it says whose it is.

    Args:
        path: the file of the lock.
        busy: what to say if another process holds it; which one and since when is added.
        wait: seconds to wait for it.

    Gives whether it is held: on a file system without locks, as some network drives are, nothing is.

    Raises:
        LockedError: another process holds it.
        OutputError: the file cannot be made.
    """
    lock, owner = filelock.FileLock(path), path.with_name(f"{path.name}.owner")
    is_held = True
    try:
        lock.acquire(timeout=wait)
        if not path.exists():  # who held it before removed it after this process had opened it
            lock.release()
            lock.acquire(timeout=wait)
        owner.write_text(whoever(), encoding="utf-8")
    except filelock.Timeout:
        who = ""
        with contextlib.suppress(OSError, ValueError):
            who = owner.read_text(encoding="utf-8")
        raise LockedError(f"{busy}{f': {who}' if who else ''}") from None
    except (OSError, NotImplementedError) as error:
        lock.release()
        if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
        is_held = False
    try:
        yield is_held
    finally:
        for file in (owner, path):
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                file.unlink()
        lock.release()


def whoever() -> str:
    """Return which process this is, where, and the time."""
    now = datetime.datetime.now().astimezone()
    return f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S}"


def cache_folder() -> Path:
    """Return the folder for downloads and caches: ``$NST_JAX_CACHE``, or the platform's own."""
    given = os.environ.get("NST_JAX_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("nst_jax"))

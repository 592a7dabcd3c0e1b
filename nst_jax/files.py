"""Files that appear whole or not at all, and the folder where downloads and compiled programs are kept."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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

    A failure or a kill at any moment leaves the file that was there before, or the whole new one.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb") as file:  # the kernel applies the umask, as to any other file
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # such as that it was never made
            temporary.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
        raise


def check_folder(path: Path) -> None:
    """Refuse a path whose folder cannot be written to: better before the work than after.

    Raises:
        OutputError: its folder is missing, or may not be written to.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK) or not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: {path.parent} is not a folder that can be written to")


def cache_folder() -> Path:
    """Return the folder for downloads and caches: ``$NST_JAX_CACHE``, or the platform's own."""
    given = os.environ.get("NST_JAX_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("nst_jax"))

"""Files that appear whole or not at all, and the folder where downloads and compiled programs are kept."""

import contextlib
import os
import tempfile
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
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; a picture is not private
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Return the folder for downloads and caches: ``$NST_JAX_CACHE``, or the platform's own."""
    given = os.environ.get("NST_JAX_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("nst_jax"))

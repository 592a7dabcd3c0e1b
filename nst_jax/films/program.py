"""The program ffmpeg: where it is, what it can do, how paths are given to it, and what it says."""

import contextlib
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from nst_jax.errors import FilmError, printable


def ffmpeg() -> str:
    """Return the program: the system's, or that of imageio-ffmpeg.

    Raises:
        FilmError: there is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise FilmError("there is no ffmpeg: install it, or its package with pip install 'nst_jax[video]'")


def encoders() -> frozenset[str]:
    """Return the names of what it can encode.

    Raises:
        FilmError: there is no ffmpeg.
    """
    return _listed(ffmpeg(), "-encoders")


def filters() -> frozenset[str]:
    """Return the names of its filters.

    Raises:
        FilmError: there is no ffmpeg.
    """
    return _listed(ffmpeg(), "-filters")


@lru_cache
def _listed(program: str, what: str) -> frozenset[str]:
    done = subprocess.run([program, "-hide_banner", what], capture_output=True, check=False)
    said = done.stdout.decode("utf-8", "replace")
    return frozenset(re.findall(r"^ +[A-Z.|]+ +(\S+)", said, re.MULTILINE))


def run(*words: str) -> tuple[str, subprocess.CompletedProcess[bytes]]:
    """Run ffmpeg to its end, and return what it said, and what else came of it.

    Raises:
        FilmError: there is no ffmpeg.
    """
    done = subprocess.run([ffmpeg(), "-hide_banner", "-nostdin", *words], capture_output=True, check=False)
    return done.stderr.decode("utf-8", "replace"), done


def named(path: Path) -> str:
    """Return a path as ffmpeg takes it for that of a file, whatever it looks like."""
    return f"file:{path}"


def why(said: str, otherwise: str) -> str:
    """Return what ffmpeg says of a failure in one sentence, without the file's name."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return otherwise
    last = re.sub(r"^(\[[^\]]*\] )+|^file:.*?: (?=[A-Z])", "", lines[-1])
    return f"{otherwise} ({printable(last[:160])})" if last != "Conversion failed!" else otherwise


def quick(path: Path) -> list[str]:
    """Let a film play before it is loaded."""
    return ["-movflags", "+faststart"] if path.suffix.lower() in (".mp4", ".mov", ".m4v") else []

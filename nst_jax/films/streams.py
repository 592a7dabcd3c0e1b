"""What else is in a film: its sound, subtitles, chapters and titles, put together with new pictures."""

import re
import secrets
from pathlib import Path

from nst_jax.errors import FilmError
from nst_jax.films.film import Say
from nst_jax.films.program import named, quick, run, why

_TEXTS = {".webm": "webvtt", ".mkv": "srt"}
"""What subtitles are made of that a file cannot hold as they are; of other files it is mov_text."""


def joined(silent: Path, old: Path, whole: Path, path: Path, say: Say) -> None:
    """Put new pictures and all else of an old film together; what the new file can hold is copied as it is.

    Args:
        silent: the film of the new pictures.
        old: the other one.
        whole: the file to write.
        path: what it will be called.
        say: told what is encoded anew, or left out.

    Raises:
        FilmError: it cannot be written.
    """
    there = run("-i", named(old))[0]
    words = _sound(old, _count(there, "Audio"), whole, path, say)
    words += _subtitles(old, _count(there, "Subtitle"), whole, path, say)
    both = ["-i", named(silent), "-i", named(old), "-map", "0:v", *words, "-c:v", "copy"]
    about = ["-map_metadata", "1", "-map_chapters", "1"]
    for more in (about, ["-map_metadata", "-1", "-map_chapters", "-1"]):
        said, done = run("-v", "error", "-y", *both, *more, *quick(path), named(whole))
        if not done.returncode:
            return
    raise FilmError(f"{path}: {why(said, 'its sound cannot be written')}")


def _sound(old: Path, count: int, whole: Path, path: Path, say: Say) -> list[str]:
    """Return the words by which all sound is taken over, and say if some of it is encoded anew."""
    other = ("libopus", "Opus") if path.suffix.lower() == ".webm" else ("aac", "AAC")
    words, encoded = [], 0
    for number in range(count):
        words += ["-map", f"1:a:{number}"]
        if _holds(old, f"a:{number}", "copy", whole):
            words += [f"-c:a:{number}", "copy"]
        else:
            words += [f"-c:a:{number}", other[0], f"-b:a:{number}", "256k"]
            encoded += 1
    if encoded:
        say(f"{path}: cannot hold the sound of {old} as it is, so that is encoded as {other[1]}")
    return words


def _subtitles(old: Path, count: int, whole: Path, path: Path, say: Say) -> list[str]:
    words: list[str] = []
    kept = 0
    for number in range(count):
        for codec in ("copy", _TEXTS.get(path.suffix.lower(), "mov_text")):
            if _holds(old, f"s:{number}", codec, whole):
                words += ["-map", f"1:s:{number}", f"-c:s:{kept}", codec]
                kept += 1
                break
    if kept < count:
        say(f"{path}: cannot hold {count - kept} of the subtitles of {old}, which are left out")
    return words


def _count(said: str, kind: str) -> int:
    """Count streams. Only what ffmpeg says itself stands so far left: a title may hold anything."""
    return len(re.findall(rf"^  Stream #0.*?: {kind}:", said, re.MULTILINE))


def _holds(old: Path, stream: str, codec: str, whole: Path) -> bool:
    """Tell whether a file of a kind can hold a stream: by a try with the first second of it."""
    trial = whole.with_name(f".{secrets.token_hex(4)}.partial{whole.suffix}")
    kind = stream[0]
    words = ["-i", named(old), "-map", f"0:{stream}", f"-c:{kind}", codec, "-map_metadata", "-1", "-t", "1"]
    try:
        return not run("-v", "error", "-y", *words, "-map_chapters", "-1", named(trial))[1].returncode
    finally:
        trial.unlink(missing_ok=True)

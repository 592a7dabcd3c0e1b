"""How films are encoded: by what, in what files, and how well."""

from dataclasses import dataclass
from pathlib import Path

from nst_jax.errors import FilmError
from nst_jax.films.program import encoders

GOOD = 75
"""The quality that is taken if none is given."""

_PLAIN = (".mp4", ".mov", ".mkv", ".m4v")
_EVEN = ("libx264", "libx265")
"""Encoders that halve the colours of even sizes only; others hold full ones as well."""

_SVT_LEAST = 64


@dataclass(frozen=True)
class Codec:
    """A way to encode films.

    Attributes:
        encoders: of ffmpeg, in the order in which they are looked for.
        suffixes: what files it may be in.
        worst: what quality 0 would be, on the encoder's scale.
        step: what it falls by for each of 100.
        least: of that scale.
    """

    encoders: tuple[str, ...]
    suffixes: tuple[str, ...]
    worst: float = 0.0
    step: float = 0.4
    least: int = 1


CODECS = {
    "h264": Codec(("libx264",), _PLAIN, 46),
    "h265": Codec(("libx265",), _PLAIN, 48),
    "vp9": Codec(("libvpx-vp9",), (".webm", ".mkv"), 50),
    "av1": Codec(("libsvtav1", "libaom-av1"), (".mp4", ".mkv", ".webm"), 50),
    "prores": Codec(("prores_ks",), (".mov",), 16, 0.16),
    "ffv1": Codec(("ffv1",), (".mkv",)),
}
"""The first plays everywhere, the last loses nothing."""

_OPTIONS = {
    "libx264": ["-preset", "medium", "-crf"],
    "libx265": ["-preset", "medium", "-tag:v", "hvc1", "-x265-params", "log-level=error", "-crf"],
    "libvpx-vp9": ["-b:v", "0", "-deadline", "good", "-cpu-used", "2", "-row-mt", "1", "-crf"],
    "libsvtav1": ["-preset", "6", "-crf"],
    "libaom-av1": ["-b:v", "0", "-cpu-used", "5", "-row-mt", "1", "-crf"],
    "prores_ks": ["-vendor", "apl0", "-q:v"],
}


def codec_for(path: Path, codec: str | None) -> str:
    """Return a codec, or if none is given that of a file's suffix: vp9 of .webm, otherwise h264."""
    return codec or ("vp9" if path.suffix.lower() == ".webm" else "h264")


def check(path: Path, codec: str | None) -> None:
    """Refuse a codec that is unknown, that a file cannot hold, or that this ffmpeg has not.

    Raises:
        FilmError: with what is allowed.
    """
    if codec is not None and codec not in CODECS:
        raise FilmError(f"{codec}: is no codec; allowed: {', '.join(CODECS)}")
    name = codec_for(path, codec)
    if path.suffix.lower() not in CODECS[name].suffixes:
        allowed = ", ".join(CODECS[name].suffixes)
        raise FilmError(f"{path}: {name} is not for {path.suffix or 'no suffix'}; use {allowed}")
    if not encoders() & set(CODECS[name].encoders):
        there = ", ".join(each for each, codec in CODECS.items() if encoders() & set(codec.encoders))
        raise FilmError(
            f"{path}: this ffmpeg has no {' or '.join(CODECS[name].encoders)} for {name}; it has {there}"
        )


def scale_of(codec: str, quality: int | None) -> int:
    """Return what a quality from 1 to 100 is on the scale of a codec's encoder; more is worse there."""
    known = CODECS[codec]
    return max(known.least, round(known.worst - known.step * (GOOD if quality is None else quality)))


def options(codec: str, quality: int | None, size: tuple[int, int]) -> list[str]:
    """Return how ffmpeg is told to encode frames of a size, height and width, and as what pixels.

    Raises:
        FilmError: none of its encoders is for that size.
    """
    there = [each for each in CODECS[codec].encoders if each in encoders()]
    is_even = not any(side % 2 for side in size)
    if not is_even or min(size) < _SVT_LEAST:
        there = [each for each in there if each != "libsvtav1"]
    if not there:
        raise FilmError(
            f"{codec}: this ffmpeg has it only for even sizes from {_SVT_LEAST} pixels on, and the frames "
            f"have {size[1]} x {size[0]}; use another codec"
        )
    encoder = there[0]
    if codec == "ffv1":
        return ["-c:v", "ffv1", "-level", "3", "-pix_fmt", "bgr0"]
    pixels = "yuv444p" if encoder in _EVEN and not is_even else "yuv420p"
    words = _OPTIONS[encoder]
    if codec == "prores":  # of colours at half the width, ffmpeg spoils the last columns of odd ones
        is_full = bool(size[1] % 2)
        pixels = "yuv444p10le" if is_full else "yuv422p10le"
        words = ["-profile:v", "4" if is_full else "3", *words]
    return ["-c:v", encoder, *words, str(scale_of(codec, quality)), "-pix_fmt", pixels]

"""The files that a page gave: looked at before they are kept, under names that are ours."""

import re
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from nst_jax import images
from nst_jax.errors import ImageError, printable
from nst_jax.files import make_folder, replacing
from nst_jax.typing import Json

MOST_PIXELS = 100_000_000
"""Of a picture; it takes 12 bytes each while it is looked at."""

THUMBNAIL, QUALITY = 320, 85
"""Pixels of the longest side of the small picture, and how well it is stored."""

_LONGEST_NAME, _LONGEST_PIECE = 100, 40
"""Characters of the name that is shown, and of what is kept of it in a file's name."""

_SIGNATURES = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8", ".jpg"),
    (8, b"WEBP", ".webp"),
    (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"),
    (0, b"II+\0", ".tif"),
    (0, b"MM\0+", ".tif"),
    (0, b"GIF8", ".gif"),
    (0, b"BM", ".bmp"),
    (4, b"ftypavif", ".avif"),
    (4, b"ftyp", ".heic"),
)
"""Where which bytes stand in a picture; the first that fits gives the ending of its file."""

_IN_PLAIN_WORDS = (
    (r"(is damaged or cut short|damaged or of a rare kind) \(.*\)", r"\1"),
    (
        r"which needs another package: pip install (\S+)",
        r"which needs the package \1; or save it as JPEG first",
    ),
    (r"(an image|a picture) of a kind that can be read", r"\g<0>, such as JPEG or PNG"),
)
"""What a reader says, and what of it is of use on a page."""

_TOO_LARGE = re.compile(r"has (?:\d+ x \d+ = )?(\d+) pixels, more than the limit of (\d+); .*")


@dataclass(frozen=True)
class _Kept:
    path: Path
    size: tuple[int, int]
    thumbnail: bytes


class Uploads:
    """The files in a folder, which is made when there is a first one; it may be asked from many threads.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, _Kept] = {}
        self._one_at_a_time = threading.Lock()  # a picture may take a gigabyte while it is looked at

    def add(self, name: str, data: bytes) -> dict[str, Json]:
        """Keep a picture, if it is one; the same bytes are the same upload.

        Args:
            name: what its user calls it: for messages, and for people who look into the folder.
            data: the file.

        Returns:
            Its ``id``, ``upload:`` and 12 digits of its SHA-256, ``name``, and ``width`` and ``height`` as it
            is seen, upright.

        Raises:
            ImageError: it is no picture that can be read, or has more than `MOST_PIXELS`. Nothing is kept.
            OutputError: the folder cannot be written.
        """
        name = shown_name(name)
        digits = sha256(data).hexdigest()[:12]
        with self._one_at_a_time:
            kept = self._kept.get(f"upload:{digits}")
            if kept is None or not kept.path.exists():
                kept = self._keep(self._folder / _file_name(digits, name, data), name, data)
                self._kept[f"upload:{digits}"] = kept
        height, width = kept.size
        return {"id": f"upload:{digits}", "name": name, "width": width, "height": height}

    def path(self, id: str) -> Path:
        """Return the file of an upload.

        Raises:
            LookupError: there is none.
        """
        return self._found(id).path

    def thumbnail(self, id: str) -> bytes:
        """Return a JPEG of an upload, `THUMBNAIL` pixels on its longest side; transparent ones are on white.

        Raises:
            LookupError: there is none.
        """
        return self._found(id).thumbnail

    def _found(self, id: str) -> _Kept:
        if id not in self._kept:
            raise LookupError("this picture was not uploaded here; drop it on the page again")
        return self._kept[id]

    def _keep(self, path: Path, name: str, data: bytes) -> _Kept:
        make_folder(path.parent)
        with replacing(path) as file:
            file.write(data)
            file.flush()
            try:
                picture = images.read(file.name, max_pixels=MOST_PIXELS)
            except ImageError as error:
                raise ImageError(f"{name}: {_in_plain_words(error, file.name)}") from None
            height, width = picture.rgb.shape[:2]
            return _Kept(path, (height, width), _small(picture))


def shown_name(name: str) -> str:
    """Return the name of a file as people may see it: without folders, on one line, not too long."""
    last = re.split(r"[/\\]", name)[-1].strip()
    return printable(last)[-_LONGEST_NAME:] or "picture"


def _file_name(digits: str, name: str, data: bytes) -> str:
    piece = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem)[:_LONGEST_PIECE].strip("_-")
    return "_".join(filter(None, (digits, piece))) + _suffix(data)


def _suffix(data: bytes) -> str:
    fitting = (suffix for place, sign, suffix in _SIGNATURES if data.startswith(sign, place))
    return next(fitting, ".picture")


def _in_plain_words(error: ImageError, file: str) -> str:
    """Return what is wrong with a picture, without the name of its file, for someone at a page."""
    text = str(error).removeprefix(f"{file}: ").replace(file, "it")
    if found := _TOO_LARGE.fullmatch(text):
        has, most = (int(pixels) / 1e6 for pixels in found.groups())
        return f"has {has:.1f} megapixels; at most {most:.0f} are taken: make it smaller first"
    for theirs, plain in _IN_PLAIN_WORDS:
        text = re.sub(theirs, plain, text)
    return text


def _small(picture: images.Picture) -> bytes:
    rgb = picture.rgb
    if picture.alpha is not None:  # before it is made smaller, or hidden colours would shine through at edges
        opacity = picture.alpha[:, :, None]
        rgb = rgb * opacity + (1 - opacity)
    return images.encode("small.jpg", images.bounded(rgb, THUMBNAIL), quality=QUALITY)

"""Kinds of file: opening those that are pictures, naming those that are not."""

import importlib
import io
import re

from PIL import Image, UnidentifiedImageError

from nst_jax.images.pictures import one_line

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".tga"),
    *(".psd", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".jp2", ".j2k"),
)
"""What the names of pictures end in, in lower case; others may be read all the same."""

_NAMES = (
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (0, b"PK\3\4", "a ZIP archive, or a document packed as one"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"#?RGBE", "a Radiance HDR picture"),
    (0, b"gimp xcf", "a drawing of GIMP"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (40, b" EMF", "a Windows metafile"),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file"),
    (0, b"IIRO", "a camera raw file"),
    (0, b"IIRS", "a camera raw file"),
    (0, b"IIU\0", "a camera raw file"),
    (4, b"ftypcrx ", "a camera raw file"),
    (8, b"AVI LIST", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\x00\x00\x01\xba", "a video"),
)
"""Where which bytes stand in files that are no pictures for us."""

_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_SVG = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|!--|!doctype svg|svg)", re.IGNORECASE)
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE)


def opened(data: bytes) -> Image.Image:
    """Return a picture that Pillow, or its plugin for HEIC, has looked at but not decoded.

    Raises:
        UnidentifiedImageError: it is no picture, or of another kind; the message begins with "is".
    """
    name = named(data)
    if name == "a HEIC picture":
        _learn_heic()
    elif name:
        raise UnidentifiedImageError(f"is {name}, not a picture of a kind that can be read")
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise UnidentifiedImageError(_complaint(data)) from None
    if image.format == "PNG" and isinstance(key := image.info.get("transparency"), int) and image.mode == "L":
        # Greys of 2 and 4 bits are spread over 8, but not the one among them that is transparent.
        most = 2 ** min(data[24], 8) - 1
        image.info["transparency"] = (key & most) * (255 // most)
    return image


def named(data: bytes) -> str | None:
    """Return what a file is, if it is known by its first bytes and Pillow alone cannot read it."""
    if data[4:8] == b"ftyp":
        # The brand, and those that it is compatible with; mif1 and msf1 may be AVIF as well as HEIC.
        brands = {data[at : at + 4] for at in (8, *range(16, min(int.from_bytes(data[:4]), 256), 4))}
        if brands & _AVIF:
            return None
        if brands & _HEIF and data[8:12] != b"crx ":
            return "a HEIC picture"
    for place, signature, name in _NAMES:
        if data.startswith(signature, place):
            return name
    if data[4:8] == b"ftyp":
        return "a video"
    if _SVG.match(data) and b"<svg" in data[:4096].lower():
        return "an SVG drawing"
    return "a web page" if _HTML.match(data) else None


def _learn_heic() -> None:
    """Let Pillow read HEIC, with a package that need not be there."""
    if "HEIF" in Image.OPEN:
        return
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise UnidentifiedImageError(
            "is a HEIC picture, which needs another package: pip install pillow-heif"
        ) from None


def _complaint(data: bytes) -> str:
    """Return what the reader says that takes the file for its own; Pillow keeps it to itself."""
    for kind in Image.ID:
        factory, accepts = Image.OPEN[kind]
        if accepts and accepts(data[:16].ljust(16, b"\0")) is True:
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:
                return f"is a {kind} file, but damaged or of a rare kind ({one_line(error)})"
    return "is not an image of a kind that can be read"

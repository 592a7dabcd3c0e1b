"""Paint the sample pictures, and copy the sample photographs from scikit-image, into the package.

    python tools/paint_samples.py [NAME ...]

A file whose pixels are already those is left alone. Another machine or version of NumPy may round differently
and so place a few strokes elsewhere.
"""

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from painters import paintings, portraits, riverside
from PIL import Image

DATA = Path(__file__).parent.parent / "nst_jax" / "samples" / "data"
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def photograph(name: str) -> NDArray[np.uint8]:
    """Return a photograph of scikit-image."""
    return np.asarray(getattr(skimage.data, name)(), np.uint8)


def painted(painter: Callable[[], NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return what a painter paints, to 8 bits with halves up."""
    return np.asarray(np.floor(painter() * 255 + 0.5), np.uint8)


PICTURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    **{name: partial(photograph, name) for name in PHOTOGRAPHS},
    **{name: partial(painted, painter) for name, painter in paintings.PAINTINGS.items()},
    "riverside": partial(painted, riverside.riverside),
    "riverside_sem": partial(painted, riverside.riverside_map),
    "river_doodle_sem": partial(painted, riverside.river_doodle),
    "astronaut_sem": partial(painted, portraits.astronaut_map),
    "chelsea_sem": partial(painted, portraits.chelsea_map),
}
"""What makes each sample: RGB, (height, width, 3)."""


def stored(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a file; none, of shape (0,), if there is no such file."""
    if not path.exists():
        return np.zeros(0, np.uint8)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def packed(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels as the smallest lossless WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def main(names: list[str]) -> None:
    """Write the files of these samples, or of all."""
    for name in names or PICTURES:
        path, pixels = DATA / f"{name}.webp", PICTURES[name]()
        if np.array_equal(stored(path), pixels):
            print(f"{path.name}: unchanged")
        else:
            path.write_bytes(packed(pixels))
            print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

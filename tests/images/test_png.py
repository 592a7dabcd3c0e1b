"""What is streamed is read by Pillow and pypng."""

import io

import numpy as np
import png as pypng
import pytest
from image_files import RANDOM
from PIL import Image

from nst_jax import images
from nst_jax.images import pictures, png, writing


@pytest.fixture(autouse=True)
def _in_parts(monkeypatch):
    """Small pictures have many bands, and many pieces."""
    monkeypatch.setattr(writing, "LARGE", 0)
    monkeypatch.setattr(pictures, "AT_ONCE", 1000)
    monkeypatch.setattr(png, "_CHUNK", 5000)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (99, 101), (300, 200)])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_stream_has_the_pixels_and_the_texts(tmp_path, size, bits, channels):
    samples = RANDOM.integers(0, 2**bits, (*size, channels), np.uint16 if bits == 16 else np.uint8)
    unit, text = samples / (2**bits - 1), {"nst_jax": "seed: 3\n", "Title": "北斎"}
    alpha = unit[..., 3] if channels == 4 else None
    data = images.encode("a.png", unit[..., :3], alpha=alpha, bits=bits, text=text)
    width, height, rows, about = pypng.Reader(bytes=data).asDirect()
    assert (height, width, about["bitdepth"], about["planes"]) == (*size, bits, channels)
    np.testing.assert_array_equal(np.array([list(row) for row in rows]).reshape(samples.shape), samples)
    with Image.open(io.BytesIO(data)) as image:
        assert image.text == text
        np.testing.assert_array_equal(np.asarray(image), samples if bits == 8 else samples >> 8)
    (tmp_path / "a.png").write_bytes(data)
    assert images.read_text(tmp_path / "a.png") == text


def test_chunks():
    """As the standard wants them: texts and colour space before the pixels, which lie in neighbours."""
    data = images.encode("a.png", RANDOM.random((200, 100, 3)), text={"a": "b"})
    names = [name for name, _ in pypng.Reader(bytes=data).chunks()]
    pieces = names.count(b"IDAT")
    assert pieces > 2
    assert names == [b"IHDR", b"sRGB", b"tEXt", *[b"IDAT"] * pieces, b"IEND"]

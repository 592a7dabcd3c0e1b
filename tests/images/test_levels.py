import numpy as np
import pytest
from image_files import RANDOM

from nst_jax.errors import ImageError
from nst_jax.images import pictures
from nst_jax.images.levels import levels_of

RGB, ALPHA = RANDOM.uniform(-0.2, 1.2, (31, 23, 3)), RANDOM.random((31, 23))


def rounded(unit, bits):
    most = 2**bits - 1
    return [int(min(max(value, 0), 1) * most + 0.5) for value in unit.ravel()]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pixels", [1, 50, 10**6])
def test_bands_make_the_whole(bits, pixels, monkeypatch):
    monkeypatch.setattr(pictures, "AT_ONCE", pixels)
    found = levels_of("a", RGB, ALPHA, bits=bits, on_white=False)
    whole = np.concatenate(list(found.bands()))
    assert whole.shape == found.shape == (31, 23, 4)
    assert whole.dtype == found.dtype == f"uint{bits}"
    assert whole.ravel().tolist() == rounded(np.dstack([RGB, ALPHA]), bits)
    np.testing.assert_array_equal(found.whole(), whole)
    np.testing.assert_array_equal(found.part(slice(3, 9), slice(20, 99)), whole[3:9, 20:])


def test_white_shows_through():
    found = levels_of("a", RGB, ALPHA, bits=8, on_white=True)
    assert found.shape == (31, 23, 3)
    assert found.whole().ravel().tolist() == rounded(RGB * ALPHA[..., None] + 1 - ALPHA[..., None], 8)


def test_what_is_given_stays():
    given, visible = RGB.copy(), ALPHA.copy()
    levels_of("a", given, visible, bits=8, on_white=False).whole()
    np.testing.assert_array_equal(given, RGB)
    np.testing.assert_array_equal(visible, ALPHA)


@pytest.mark.parametrize("bad", ["rgb", "alpha"])
def test_no_number_is_found_wherever_it_is(bad):
    arrays = {"rgb": RGB.copy(), "alpha": ALPHA.copy()}
    arrays[bad][-1, -1] = np.nan
    with pytest.raises(ImageError, match="not numbers"):
        levels_of("a", **arrays, bits=8, on_white=False).whole()

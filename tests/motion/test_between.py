"""Frames between painted ones, against values known beforehand."""

import numpy as np
import pytest

from nst_jax.errors import ImageError
from nst_jax.motion.between import blended


def flat(value):
    return np.full((8, 10, 3), value, np.float32)


ALL, NONE = np.ones((8, 10), np.float32), np.zeros((8, 10), np.float32)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_both_by_their_shares(share):
    for trust in (ALL, NONE):
        found = blended(flat(0.2), flat(0.6), trust, trust, share)
        np.testing.assert_allclose(found, 0.2 + 0.4 * share, atol=1e-6)


def test_only_what_can_be_trusted():
    half = NONE.copy()
    half[:, :5] = 1
    found = blended(flat(0.2), flat(0.6), half, 1 - half, 0.5)
    np.testing.assert_allclose(found[:, :5], 0.2, atol=2e-3)
    np.testing.assert_allclose(found[:, 5:], 0.6, atol=2e-3)


def test_masks_have_soft_edges():
    half = NONE.copy()
    half[:, :5] = 1
    row = blended(flat(0.0), flat(1.0), half, ALL, 0.5)[4, :, 0]
    assert np.all(np.diff(row) >= -1e-6)
    assert row[0] < 0.52 < row[4] < row[5]


def test_mistakes():
    with pytest.raises(ImageError, match="of one size"):
        blended(flat(0), flat(0)[:4], ALL, ALL, 0.5)
    with pytest.raises(ImageError, match="share 2"):
        blended(flat(0), flat(0), ALL, ALL, 2)

from collections import Counter

import numpy as np
import pytest

from nst_jax.transfer.canvases import PROGRAM, canvases, extent_on, put_on

FORMATS = [(384, 512), (341, 512), (288, 512), (512, 512)]


def price_of(sizes, found):
    return sum(height * width for height, width in found) + PROGRAM * len(set(found))


def partitions(items):
    if not items:
        yield []
        return
    first, *rest = items
    for partition in partitions(rest):
        yield [[first], *partition]
        for i, group in enumerate(partition):
            yield [*partition[:i], [first, *group], *partition[i + 1 :]]


def least_price(sizes, most):
    def price(partition):
        areas = (max(h for h, _ in group) * max(w for _, w in group) * len(group) for group in partition)
        return sum(areas) + PROGRAM * len(partition)

    return min(price(partition) for partition in partitions(sizes) if len(partition) <= most)


def drawn(random, count):
    formats = [FORMATS[i] for i in random.integers(len(FORMATS), size=count)]
    sizes = [(height + int(random.integers(-30, 30)), width) for height, width in formats]
    return [size[:: random.choice([1, -1])] for size in sizes]


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_few_sizes_are_divided_as_well_as_they_can_be(random, most):
    for _ in range(15):
        sizes = drawn(random, 6)
        found = canvases(sizes, most=most)
        assert len(set(found)) <= most
        assert price_of(sizes, found) <= 1.01 * least_price(sizes, most)


def test_many_sizes_share_few_canvases_that_hold_them(random):
    sizes = [tuple(map(int, random.integers(150, 600, 2))) for _ in range(30)]
    found = canvases(sizes)
    assert 1 <= len(set(found)) <= 4
    assert all(h <= H and w <= W for (h, w), (H, W) in zip(sizes, found, strict=True))
    for height, width in set(found):
        group = [size for size, canvas in zip(sizes, found, strict=True) if canvas == (height, width)]
        assert (height, width) == (max(h for h, _ in group), max(w for _, w in group))


def test_upright_and_lying_pictures_are_kept_apart():
    sizes = [(384, 512), (512, 384), (341, 512), (512, 341)] * 5
    assert Counter(canvases(sizes, most=2)) == {(384, 512): 10, (512, 384): 10}


def test_a_program_is_worth_its_price():
    sizes = [(256, 256), (250, 256)]
    assert canvases(sizes) == [(256, 256), (256, 256)]
    assert canvases(sizes, price=100) == sizes
    assert canvases([(64, 64), (512, 512)], price=0) == [(64, 64), (512, 512)]


def test_none_one_and_equal_sizes():
    assert canvases([]) == []
    assert canvases([(30, 40)] * 3) == [(30, 40)] * 3
    with pytest.raises(ValueError, match="at least 1 canvas, got 0"):
        canvases([(30, 40)], most=0)


def test_a_picture_on_a_canvas_has_its_edge_around(random):
    image = np.float32(random.uniform(size=(3, 4, 3)))
    found = put_on(image, (5, 6))
    np.testing.assert_array_equal(found[:3, :4], image)
    np.testing.assert_array_equal(found[3:, :4], image[[2, 2]])
    np.testing.assert_array_equal(found[:3, 4:], image[:, [3, 3]])
    assert extent_on(image, (5, 6)).tolist() == [3, 4]
    assert put_on(image, None) is image
    assert extent_on(image, None) is None
    with pytest.raises(ValueError, match="a canvas of 6 x 2 cannot hold a picture of 4 x 3"):
        put_on(image, (2, 6))

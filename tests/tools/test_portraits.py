import numpy as np
import pytest
from painters import brush, portraits

from nst_jax import samples
from nst_jax.images import maps

PARTS = list(portraits.LABELS)
COLOURS = brush.palette(*portraits.LABELS.values())
DRAWN = {"astronaut": portraits.astronaut_map, "chelsea": portraits.chelsea_map}

WITHIN = {  # pixels (x, y), read off the photographs
    "astronaut": {
        "background": [(20, 20), (130, 100), (200, 20), (325, 150), (410, 130), (450, 320), (12, 500)],
        "clothing": [(100, 300), (60, 450), (220, 200), (330, 260), (240, 450), (400, 440), (127, 190)],
        "hair": [(230, 45), (165, 85), (285, 100), (225, 70), (258, 80), (280, 115)],
        "skin": [
            (200, 125),
            (225, 90),
            (190, 90),
            (250, 130),
            (225, 165),
            (215, 180),
            (176, 125),
            (275, 132),
        ],
        "eyes": [(202, 100), (247, 102)],
        "nose": [(225, 124), (224, 110)],
        "mouth": [(224, 145), (208, 140), (222, 151)],
    },
    "chelsea": {
        "background": [(10, 60), (12, 5), (430, 40), (400, 150), (380, 200), (440, 280)],
        "clothing": [(10, 150), (15, 250), (60, 270), (130, 280), (345, 250)],
        "hair": [(60, 15), (45, 50), (150, 40), (250, 30), (350, 20), (380, 20), (365, 55)],
        "skin": [(60, 140), (100, 180), (240, 150), (150, 240), (345, 180), (300, 260), (120, 80), (340, 95)],
        "eyes": [(145, 120), (172, 110), (200, 130), (312, 135), (320, 155), (335, 130)],
        "nose": [(258, 235), (280, 235), (258, 260)],
        "mouth": [(255, 280), (225, 282), (280, 279)],
    },
}


def parts_of(name):
    same = (DRAWN[name]()[..., None, :] == COLOURS).all(axis=-1)
    assert (same.sum(axis=-1) == 1).all()  # only the listed colours occur
    return same.argmax(axis=-1)


@pytest.mark.parametrize("name", DRAWN)
def test_every_pixel_of_the_photograph_has_a_label(name):
    drawn = DRAWN[name]()
    assert drawn.dtype == np.float32
    assert drawn.shape == samples.load(name).shape
    assert (np.bincount(parts_of(name).ravel(), minlength=len(PARTS)) > 0).all()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", DRAWN)
def test_parts_are_where_the_photograph_has_them(name, part):
    parts = parts_of(name)
    assert {PARTS[parts[y, x]] for x, y in WITHIN[name][part]} == {part}


@pytest.mark.parametrize(
    ("name", "inner", "outer"),
    [
        ("astronaut", "clothing", "background"),
        ("astronaut", "hair", "background"),
        ("astronaut", "skin", "hair"),
        ("chelsea", "eyes", "skin"),
        ("chelsea", "nose", "skin"),
    ],
)
def test_outlines_follow_the_edges_of_the_photograph(name, inner, outer):
    parts = parts_of(name)
    rgb = 255 * samples.load(name).astype(float)

    def contrast(down, right):
        """Return how much the photograph changes across the outline, were this shifted."""
        moved = np.roll(parts, (down, right), (0, 1))
        across = []
        for axis in (0, 1):
            a, b = np.moveaxis(moved, axis, 0)[:-4], np.moveaxis(moved, axis, 0)[4:]
            change = np.linalg.norm(np.diff(np.moveaxis(rgb, axis, 0), axis=0), axis=-1)
            summed = sum(change[i : len(change) - 3 + i] for i in range(4))
            pair = {PARTS.index(inner), PARTS.index(outer)}
            edge = np.isin(a, list(pair)) & np.isin(b, list(pair)) & (a != b)
            across.append(summed[edge])
        return np.concatenate(across).mean()

    here = contrast(0, 0)
    assert all(here > contrast(*shift) for shift in ((9, 0), (-9, 0), (0, 9), (0, -9)))


def test_labels_are_far_apart_and_those_within_the_face_nearer_to_skin():
    apart = np.linalg.norm(COLOURS[:, None] - COLOURS, axis=-1) + 9 * np.eye(len(PARTS))
    assert apart.min() > 0.2
    assert apart[: PARTS.index("eyes"), : PARTS.index("eyes")].min() > 0.6
    for part in ("nose", "mouth"):
        assert PARTS[apart[PARTS.index(part), : PARTS.index("eyes")].argmin()] == "skin"


@pytest.mark.parametrize(("content", "style"), [("astronaut", "chelsea"), ("chelsea", "astronaut")])
def test_every_part_counts_as_a_label_of_its_own(content, style):
    *encoded, warnings = maps.encoded(DRAWN[content](), DRAWN[style](), kind="colours")
    assert not warnings
    assert [map_.shape[2] for map_ in encoded] == [len(PARTS)] * 2
    assert all(map_.any(axis=(0, 1)).all() for map_ in encoded)


@pytest.mark.parametrize("name", DRAWN)
def test_they_fit_their_photographs(name):
    maps.check_shape(samples.load(f"{name}_sem"), samples.load(name).shape[:2], "content")

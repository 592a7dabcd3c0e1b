import numpy as np
import pytest
from painters import brush, riverside

from nst_jax import samples

PARTS = list(riverside.LABELS)


@pytest.fixture(scope="module")
def painting():
    np.random.seed(99)  # which should not matter
    return riverside.riverside()


@pytest.fixture(scope="module")
def parts():
    return parts_of(riverside.riverside_map())


def parts_of(drawn):
    """Return which label each pixel of a map has, where every pixel must have exactly one."""
    same = (drawn[..., None, :] == brush.palette(*riverside.LABELS.values())).all(axis=-1)
    assert (same.sum(axis=-1) == 1).all()
    return same.argmax(axis=-1)


def inner(mask, reach):
    """Return the pixels of a mask that are at least ``reach`` pixels from its border, along both axes."""
    for _ in range(reach):
        padded = np.pad(mask, 1, mode="edge")
        mask = mask & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return mask


def test_painting_is_a_picture_without_blank_parts(painting):
    assert painting.shape == (brush.HEIGHT, brush.WIDTH, 3)
    assert painting.dtype == np.float32
    assert painting.min() >= 0
    assert painting.max() <= 1
    blocks = painting.reshape(32, brush.HEIGHT // 32, 32, brush.WIDTH // 32, 3)
    assert blocks.std(axis=(1, 3)).max(axis=-1).min() > 0.03
    assert len(np.unique((painting * 15).astype(int).reshape(-1, 3), axis=0)) > 500


def test_the_file_holds_the_painting(painting):
    """But for a few strokes, whose place hangs on the last bit of a sine."""
    assert (np.abs(samples.load("riverside") - painting).max(axis=-1) > 0.51 / 255).mean() < 1e-3


def test_labels_are_far_apart():
    colours = brush.palette(*riverside.LABELS.values())
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1) + 9 * np.eye(len(colours))
    assert apart.min() > 0.35


def test_every_part_has_a_fair_share_of_the_painting(painting, parts):
    assert parts.shape == painting.shape[:2]
    assert (np.bincount(parts.ravel(), minlength=5) / parts.size).min() > 0.1


def test_map_lies_where_the_painting_has_its_colours(painting, parts):
    means = {name: painting[parts == i].mean(axis=0) for i, name in enumerate(PARTS)}
    for name, other in ((a, b) for a in PARTS for b in PARTS if a < b):
        assert np.linalg.norm(means[name] - means[other]) > 0.2, (name, other)
    red, green, blue = np.array([means[name] for name in PARTS]).T
    assert blue[0] == blue.max()  # the sky
    assert blue[1] > green[1] < red[1]  # violet hills
    assert green[2] > max(red[2], blue[2])  # trees
    assert min(red[3], green[3]) > blue[3] + 0.2  # a yellow meadow
    assert blue[4] > green[4] > red[4] + 0.1  # a blue-green river


@pytest.mark.parametrize("shift", [(0, 8), (0, -8), (8, 0), (-8, 0)])
def test_map_fits_better_than_a_shifted_one(painting, parts, shift):
    """The variance that the parts leave unexplained is least where the map lies."""

    def unexplained(labels):
        return sum(painting[labels == i].var(axis=0).sum() * (labels == i).sum() for i in range(5))

    assert unexplained(parts) < 0.97 * unexplained(np.roll(parts, shift, axis=(0, 1)))


def test_strokes_run_as_they_should(painting, parts):
    """The sky and the river change most from top to bottom, the meadow most from side to side."""
    down, right = np.abs(np.diff(painting, axis=0)).sum(-1), np.abs(np.diff(painting, axis=1)).sum(-1)
    for part, upright in (("sky", False), ("river", False), ("meadow", True)):
        inside = inner(parts == PARTS.index(part), 6)
        ratio = right[inside[:, :-1]].mean() / down[inside[:-1]].mean()
        assert ratio > 1.2 if upright else ratio < 0.8, part


def test_doodle_is_another_layout_in_the_same_colours(parts):
    doodle = riverside.river_doodle()
    assert doodle.shape == (*riverside.DOODLE_SHAPE, 3)
    assert doodle.dtype == np.float32
    drawn = parts_of(doodle)
    assert (np.bincount(drawn.ravel(), minlength=5) / drawn.size).min() > 0.05
    assert (drawn != parts[::2, ::2][:, :320].repeat(2, 1)[:256, :384]).mean() > 0.3
    sky, trees, meadow, river = (PARTS.index(name) for name in ("sky", "trees", "meadow", "river"))
    assert (drawn[0] == sky).all()
    assert set(drawn[-1]) == {meadow, river}  # which begins in the foreground
    rows = np.flatnonzero((drawn == river).any(axis=1))
    assert (np.diff(rows) == 1).all()
    assert rows[0] < 0.5 * len(drawn)  # and reaches the horizon
    for half in (drawn[:, :192], drawn[:, 192:]):
        assert (half == trees).mean() > 0.05

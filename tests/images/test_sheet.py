"""Pictures of one colour each are looked for on the sheet; whatever else is not white is lettering."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.images import contact_sheet, lettering, sheet

LAYERS = [", ".join(f"conv{i}_1" for i in range(1, n + 1)) for n in range(1, 6)]
RATIOS = ["1e-05", "0.0001", "0.001", "0.01"]
EMPTY = np.float32(240 / 255)


def colour(number):
    """Return one of 256 colours, none of which is grey."""
    return np.array([0.9, number % 16 / 20, number // 16 / 20], np.float32)


def solid(number, height=30, width=40):
    return np.broadcast_to(colour(number), (height, width, 3))


def positions(*counts):
    return list(itertools.product(*map(range, counts)))


def solids(*counts, **size):
    return {at: solid(i, **size) for i, at in enumerate(positions(*counts))}


def boxes(drawn, pictures):
    """Return (top, left, bottom, right) of each picture, which fills it."""
    numbers = np.rint(drawn[:, :, 1] * 20) + 16 * np.rint(drawn[:, :, 2] * 20)
    wanted = np.stack([np.full(numbers.shape, 0.9), numbers % 16 / 20, numbers // 16 / 20], axis=2)
    labelled = np.where((np.abs(drawn - wanted) < 1e-3).all(2), numbers + 1, 0).astype(int)
    found = scipy.ndimage.find_objects(labelled, max_label=256)
    places = {}
    for at, picture in pictures.items():
        number = int(np.rint(picture[0, 0, 1] * 20) + 16 * np.rint(picture[0, 0, 2] * 20))
        rows, columns = found[number]
        assert (labelled[rows, columns] == number + 1).all()
        places[at] = (rows.start, columns.start, rows.stop, columns.stop)
    return places


def ink(drawn):
    """Return where there is lettering: neither white nor coloured."""
    return (np.ptp(drawn, axis=2) == 0) & (drawn[:, :, 0] < 1)


def assert_clear(drawn, places, moat=2):
    """No lettering touches a picture or the edge of the sheet, and no two pictures meet."""
    for top, left, bottom, right in places.values():
        around = drawn[top - moat : bottom + moat, left - moat : right + moat].copy()
        around[moat:-moat, moat:-moat] = 1
        assert (around == 1).all()
    edge = drawn.copy()
    edge[8:-8, 8:-8] = 1
    assert (edge == 1).all()


def assert_grid(places, rows, columns, block=()):
    """Rows are level, columns stand above one another, and both come in order without overlap."""
    grid = np.array([[places[(*block, r, c)] for c in range(columns)] for r in range(rows)])
    assert (grid == grid[:1, :])[:, :, [1, 3]].all()
    assert (grid == grid[:, :1])[:, :, [0, 2]].all()
    assert (grid[:-1, :, 2] < grid[1:, :, 0]).all()
    assert (grid[:, :-1, 3] < grid[:, 1:, 1]).all()


def test_rows_and_columns():
    pictures = solids(5, 4)
    drawn = contact_sheet(pictures, [("style layers", LAYERS), ("α/β", RATIOS)], title="Layers")
    assert drawn.dtype == np.float32
    assert drawn.shape[2] == 3
    places = boxes(drawn, pictures)
    assert_grid(places, 5, 4)
    assert_clear(drawn, places)
    assert {(b - t, r - x) for t, x, b, r in places.values()} == {(192, 256)}
    gaps = {places[r, c + 1][1] - places[r, c][3] for r, c in positions(5, 3)}
    gaps |= {places[r + 1, c][0] - places[r, c][2] for r, c in positions(4, 4)}
    assert len(gaps) == 1, "no room is wasted among pictures of one shape"
    letters = ink(drawn)
    top, left, *_ = places[0, 0]
    assert letters[:top, left:].any()
    assert not letters[:, places[0, 3][3] :].any()
    assert not letters[places[4, 0][2] :].any()
    for r in range(5):
        assert letters[places[r, 0][0] : places[r, 0][2], :left].any(), "a row without its label"


def test_labels_stand_beside_what_they_name():
    """Only one label is not empty each time, so the lettering must be where its picture is."""
    pictures = solids(3, 4)
    for r in range(3):
        drawn = contact_sheet(pictures, [("", ["conv1_1" * (i == r) for i in range(3)]), ("", [""] * 4)])
        places = boxes(drawn, pictures)
        top, left, bottom, _ = box_of_ink(drawn)
        assert places[r, 0][0] < top < bottom < places[r, 0][2]
        assert left < places[r, 0][1]
    for c in range(4):
        drawn = contact_sheet(pictures, [("", [""] * 3), ("", ["0.01" * (i == c) for i in range(4)])])
        places = boxes(drawn, pictures)
        _, left, bottom, right = box_of_ink(drawn)
        assert abs((left + right) - (places[0, c][1] + places[0, c][3])) <= 4
        assert places[0, c][0] - 24 < bottom <= places[0, c][0] - 2


def test_labels_of_columns_end_at_one_level():
    pictures = solids(2)
    for labels in (["hh", "hh " * 30], ["hh " * 30, "hh"]):
        drawn = contact_sheet(pictures, [("", labels)], cell=100)
        top, left, _, right = boxes(drawn, pictures)[labels.index("hh"),]
        rows = np.flatnonzero(ink(drawn)[:, left:right].any(1))
        assert rows[0] > top - 20, "not raised to the level of the first lines of the other"


def box_of_ink(drawn):
    rows, columns = np.flatnonzero(ink(drawn).any(1)), np.flatnonzero(ink(drawn).any(0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


@pytest.mark.parametrize(
    ("count", "lengths"), [(1, [1]), (7, [7]), (8, [8]), (9, [5, 4]), (20, [7, 7, 6]), (200, [20] * 10)]
)
def test_one_axis_is_wrapped(count, lengths):
    pictures = solids(count)
    drawn = contact_sheet(pictures, [("seed", [f"{i}" for i in range(count)])], cell=64)
    places = boxes(drawn, pictures)
    tops = [places[at][0] for at in sorted(places)]
    assert tops == sorted(tops)
    assert [tops.count(top) for top in dict.fromkeys(tops)] == lengths
    lefts = [places[at][1] for at in sorted(places)]
    assert lefts == [lefts[i] for n in lengths for i in range(n)]
    assert_clear(drawn, places)
    letters = ink(drawn)
    for top, left, _, right in places.values():
        assert letters[top - 16 : top, left:right].any(), "a picture without its label"


def test_no_axes():
    picture = solid(3)
    plain = contact_sheet({(): picture}, [])
    places = boxes(plain, {(): picture})
    assert_clear(plain, places)
    assert plain.shape == (192 + 64, 256 + 64, 3)
    assert not ink(plain).any()
    titled = contact_sheet({(): picture}, [], title="The river")
    assert ink(titled)[: boxes(titled, {(): picture})[()][0]].any()


def test_further_axes_make_blocks():
    pictures = solids(2, 2, 2, 3)
    axes = [("style", ["a", "b"]), ("size", ["1", "2"]), ("layer", ["x", "y"]), ("ratio", RATIOS[:3])]
    drawn = contact_sheet(pictures, axes, cell=64)
    places = boxes(drawn, pictures)
    assert_clear(drawn, places)
    last = 0
    for block in positions(2, 2):
        assert_grid(places, 2, 3, block)
        top = places[(*block, 0, 0)][0]
        lines = ink(drawn)[last:top, :].any(1)
        assert np.count_nonzero(lines[1:] & ~lines[:-1]) >= 3, "heading, title of the columns, labels"
        last = places[(*block, 1, 0)][2]
    assert len({places[(*block, 0, 0)][1] for block in positions(2, 2)}) == 1


def test_headings_name_all_outer_axes():
    blocks = sheet._blocks([("style", ["a", "b"]), ("size", ["1"]), ("layer", ["x"]), ("ratio", ["0"])])
    assert [block.heading for block in blocks] == ["style: a, size: 1", "style: b, size: 1"]


def test_pictures_keep_their_values_and_their_aspect():
    picture = np.random.default_rng(0).random((48, 64, 3), np.float32)
    drawn = contact_sheet({(0, 0): picture, (0, 1): solid(1)}, [("", ["a"]), ("", ["b", "c"])], cell=64)
    top, left, bottom, right = boxes(drawn, {(0, 1): solid(1)})[0, 1]
    assert (bottom - top, right - left) == (48, 64)
    found = [x for x in range(left) if (drawn[top:bottom, x : x + 64] == picture).all()]
    assert len(found) == 1


def test_large_pictures_are_resampled_like_any_other():
    picture = np.random.default_rng(0).random((96, 128, 3), np.float32)
    drawn = contact_sheet({(): picture}, [], cell=64)
    np.testing.assert_array_equal(drawn[12:-12, 12:-12], images.resize(picture, (48, 64)))


def test_different_shapes():
    """Each keeps its aspect and stands in the middle of its row and column."""
    shapes = {(0, 0): (30, 40), (0, 1): (40, 30), (1, 0): (20, 40), (1, 1): (400, 400), (2, 0): (9, 90)}
    pictures = {at: solid(i, *shape) for i, (at, shape) in enumerate(shapes.items())}
    pictures[2, 1] = solid(9, 1, 1000)
    drawn = contact_sheet(pictures, [("row", ["a", "b", "c"]), ("column", ["d", "e"])], cell=120)
    places = boxes(drawn, pictures)
    sizes = {at: (b - t, r - x) for at, (t, x, b, r) in places.items()}
    assert sizes == {
        (0, 0): (90, 120),
        (0, 1): (120, 90),
        (1, 0): (60, 120),
        (1, 1): (120, 120),
        (2, 0): (12, 120),
        (2, 1): (1, 120),
    }
    assert_clear(drawn, places)
    for r in range(3):
        middles = [places[r, c][0] + places[r, c][2] for c in range(2)]
        assert abs(middles[0] - middles[1]) <= 1
    for c in range(2):
        middles = [places[r, c][1] + places[r, c][3] for r in range(3)]
        assert max(middles) - min(middles) <= 1


def test_missing_pictures_are_marked():
    pictures = solids(2, 3)
    axes = [("row", ["a", "b"]), ("column", ["c", "d", "e"])]
    whole = boxes(contact_sheet(pictures, axes), pictures)
    del pictures[1, 1]
    drawn = contact_sheet(pictures, axes)
    assert boxes(drawn, pictures) == {at: place for at, place in whole.items() if at != (1, 1)}
    top, left, bottom, right = whole[1, 1]
    inside = drawn[top:bottom, left:right]
    assert (inside[[0, -1]] == EMPTY).all()
    assert (inside[:, [0, -1]] == EMPTY).all()
    word = box_of_ink(np.where(inside < EMPTY, inside, 1))
    assert abs(word[1] + word[3] - 256) <= 4
    assert (inside == EMPTY).mean() > 0.9
    assert (drawn[top - 4 : top, left:right] == 1).all()
    nothing = contact_sheet({}, axes, cell=64)
    assert np.count_nonzero((nothing == EMPTY).all(2)) > 5 * 64 * 64


def test_notes_stand_below_their_pictures():
    pictures = solids(2, 3)
    axes = [("", ["", ""]), ("", ["", "", ""])]
    for at in pictures:
        drawn = contact_sheet(pictures, axes, notes={at: "0.0123"})
        places = boxes(drawn, pictures)
        assert_clear(drawn, places)
        top, left, bottom, right = box_of_ink(drawn)
        assert places[at][2] < top < bottom < places[at][2] + 24
        assert abs(left + right - places[at][1] - places[at][3]) <= 4


LONG = {
    "words": "a very long description of a painting " * 9,
    "file": "a_very_long_name_of_a_file_that_somebody_has_typed_without_thinking" * 9 + ".jpg",
    "one word": "m" * 500,
    "layers": LAYERS[-1],
}


def rectangle(text):
    """Return the (top, left, bottom, right) of a text of the plan."""
    height, width = lettering.tall(text.lines, text.size), lettering.wide(text.lines, text.size)
    if text.sideways:
        return text.y - width / 2, text.x, text.y + width / 2, text.x + height
    left = text.x - width * {"l": 0, "m": 0.5, "r": 1}[text.anchor]
    return text.y, left, text.y + height, left + width


def assert_apart(plan):
    """All texts and pictures of a plan are inside its margins and clear of one another, to a pixel."""
    places = [(top, left, top + h, left + w) for top, left, h, w in plan.places.values()]
    everything = places + [rectangle(text) for text in plan.texts if text.lines]
    for top, left, bottom, right in everything:
        assert min(top, left) >= 11
        assert bottom <= plan.height - 11
        assert right <= plan.width - 11
    for a, b in itertools.combinations(everything, 2):
        assert a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1


@pytest.mark.parametrize("cell", [16, 40, 256])
@pytest.mark.parametrize("label", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("shape", [(30, 40), (90, 30), (4, 90)])
def test_long_labels_touch_neither_pictures_nor_each_other(label, cell, shape):
    pictures = solids(2, 3, height=shape[0], width=shape[1])
    axes = [(label, [label] * 2), (label, [label] * 3)]
    drawn = contact_sheet(pictures, axes, title=label, notes={(1, 1): label}, cell=cell)
    assert_clear(drawn, boxes(drawn, pictures), moat=1)
    measures = sheet._measures(dict.fromkeys(pictures, shape), cell)
    plan = sheet._sheet_part(sheet._blocks(axes), label, {(1, 1): label}, measures)
    assert drawn.shape == (plan.height, plan.width, 3)
    assert_apart(plan)


def test_labels_are_broken_between_words_first():
    lines = lettering.wrapped(LAYERS[-1], 18, 154, 8)
    assert list(lines) == ["conv1_1, conv2_1,", "conv3_1, conv4_1,", "conv5_1"]
    assert list(lettering.wrapped("tuebingen_neckarfront.jpg", 18, 154, 8)) == [
        "tuebingen_",
        "neckarfront.jpg",
    ]


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_what_is_too_long_loses_its_middle(text):
    lines = lettering.wrapped(text, 18, 154, 2)
    assert len(lines) <= 2
    font = lettering.font(18)
    assert all(font.getlength(line) <= 154 * 4 for line in lines)
    joined = "".join(lines)
    head, tail = joined.split("…")
    assert len(joined) >= 9
    assert "".join(text.split()).startswith("".join(head.split()))
    assert "".join(text.split()).endswith("".join(tail.split()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two\nlines\t", "two lines"),
        ("a\0\udc80\u200bb", "ab"),
        ("e\u0301", "é"),
        ("“α/β” = 10⁻³ × 2…", "“α/β” = 10⁻³ × 2…"),
    ],
)
def test_texts_are_put_on_one_line_without_what_cannot_be_printed(text, shown):
    assert lettering.plain(text) == shown


def test_every_character_of_a_label_has_a_shape_of_its_own():
    """What the typeface lacks is drawn as one and the same box."""
    characters = "".join(map(chr, range(33, 127))) + "αβγδεημσΔΩäßéøČžıЖя×·±≤≥≈≠→∞√∑½µ°“”…–—⁻⁰¹²³₁₂€"
    masks = {(m.size, bytes(m)) for m in map(lettering.font(8).getmask, characters)}
    look_alikes = 4  # capital letters, µ and the dashes may share theirs
    assert len(masks) >= len(characters) - look_alikes
    box = lettering.font(8).getmask("星")
    assert (box.size, bytes(box)) not in masks


def test_values_that_are_not_numbers_become_grey():
    picture = np.array(solid(1, 48, 64))
    picture[:24] = np.nan
    picture[24, 0] = [np.inf, -np.inf, 2]
    inside = contact_sheet({(): picture}, [], cell=64)[12:-12, 12:-12]
    assert (inside[:24] == 0.5).all()
    assert inside[24, 0].tolist() == [0.5, 0.5, 1]
    np.testing.assert_array_equal(inside[25:], picture[25:])
    assert np.isnan(picture[:24]).all(), "the caller's picture was changed"


def test_the_same_input_gives_the_same_sheet():
    def drawn():
        return contact_sheet(solids(2, 3), [("a", ["b", "c"]), ("d", ["e", "f", "g"])], title="t", cell=50)

    first = drawn()
    lettering.font.cache_clear()
    assert first.tobytes() == drawn().tobytes()


@pytest.mark.parametrize(("side", "pixels"), [(900, 10**9), (10**6, 300_000)])
def test_sheets_are_bounded(monkeypatch, side, pixels):
    monkeypatch.setattr(sheet, "MAX_SIDE", side)
    monkeypatch.setattr(sheet, "MAX_SHEET_PIXELS", pixels)
    pictures = solids(10, 12)
    drawn = contact_sheet(pictures, [("rows", list("abcdefghij")), ("columns", list("abcdefghijkl"))])
    assert max(drawn.shape) <= side
    assert drawn.shape[0] * drawn.shape[1] <= pixels
    assert max(max(drawn.shape) / side, (drawn.shape[0] * drawn.shape[1] / pixels) ** 0.5) > 0.85
    places = boxes(drawn, pictures)
    assert_grid(places, 10, 12)
    assert_clear(drawn, places)


def test_a_huge_grid_is_planned_within_the_bounds():
    """Only planned: drawing it takes gigabytes."""
    numbers = [f"{i}" for i in range(120)]
    blocks = sheet._blocks([("rows", numbers), ("columns", numbers)])
    for cell, fits in ((256, False), (48, True)):
        plan = sheet._sheet_part(blocks, "", {}, sheet._measures({(0, 0): (3, 4)}, cell))
        assert (sheet._excess(plan) <= 1) == fits


def test_a_grid_beyond_all_bounds_is_refused(monkeypatch):
    monkeypatch.setattr(sheet, "MAX_SIDE", 400)
    with pytest.raises(ImageError, match=r"40 x 2 pictures would have \d+ x \d+ pixels; allowed: 400 on a"):
        contact_sheet({}, [("rows", ["r"] * 40), ("columns", ["c"] * 2)])


@pytest.mark.parametrize(
    ("pictures", "axes", "options", "message"),
    [
        ({(2,): solid(0)}, [("a", ["b", "c"])], {}, r"of 2 has no position \(2,\)"),
        ({(-1,): solid(0)}, [("a", ["b", "c"])], {}, r"no position \(-1,\)"),
        ({(0,): solid(0)}, [], {}, r"of no axes has no position \(0,\)"),
        ({}, [("a", ["b"])], {"notes": {(0, 0): "x"}}, r"of 1 has no position \(0, 0\)"),
        ({}, [("seed", [])], {}, "axis 'seed' has no values"),
        ({(): np.ones((4, 5), np.float32)}, [], {}, r"the one|that at \(\) has \(4, 5\)"),
        ({(): np.ones((0, 5, 3), np.float32)}, [], {}, r"has \(0, 5, 3\)"),
        ({}, [], {"cell": 15}, "cells of 15 pixels; allowed: 16 or more"),
    ],
)
def test_what_cannot_be_drawn_is_said(pictures, axes, options, message):
    with pytest.raises(ImageError, match=message):
        contact_sheet(pictures, axes, **options)


@given(
    data=st.data(),
    counts=st.lists(st.integers(1, 3), max_size=4),
    cell=st.integers(16, 80),
    title=st.text(max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_any_small_sweep_is_drawn_in_order(data, counts, cell, title):
    text = st.text(max_size=40)
    axes = [(data.draw(text), data.draw(st.lists(text, min_size=n, max_size=n))) for n in counts]
    side = st.integers(10, 60)
    pictures = {
        at: solid(i, data.draw(side), data.draw(side))
        for i, at in enumerate(positions(*counts))
        if data.draw(st.integers(0, 5))
    }
    notes = {at: data.draw(text) for at in positions(*counts) if data.draw(st.integers(0, 2)) == 0}
    drawn = contact_sheet(pictures, axes, title=title, notes=notes, cell=cell)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    places = boxes(drawn, pictures)
    assert_clear(drawn, places, moat=1)
    measures = sheet._measures({at: picture.shape[:2] for at, picture in pictures.items()}, cell)
    assert_apart(sheet._sheet_part(sheet._blocks(axes), title, notes, measures))
    for (at, a), (other, b) in itertools.combinations(places.items(), 2):
        if at[:-1] == other[:-1] and len(at) > 1:
            assert (a[3] < b[1]) == (at < other), "columns in order"
            assert a[0] < b[2]
            assert b[0] < a[2]
        elif len(at) > 1:
            assert (a[2] < b[0]) == (at < other), "rows and blocks in order"

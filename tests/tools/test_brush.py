import numpy as np
import pytest
from painters import brush


def test_gradient_meets_its_colours():
    colours = brush.palette("000000", "ff8000", "ffffff")
    between = brush.gradient(colours, np.array([-1, 0, 0.25, 0.5, 1, 2]))
    expected = [[0, 0, 0], [0, 0, 0], [127.5, 64, 0], [255, 128, 0], [255, 255, 255], [255, 255, 255]]
    np.testing.assert_allclose(between * 255, expected, atol=1e-3)


def test_contours_of_a_stream_function_turn_about_its_peak():
    x, y = brush.grid()
    directions = brush.along_contours(np.exp(-((x - 0.6) ** 2 + (y - 0.5) ** 2)))
    outward = np.stack([x - 0.6, y - 0.5], axis=-1)
    away = np.hypot(x - 0.6, y - 0.5) > 0.05
    assert np.abs((directions * outward).sum(-1))[away].max() < 0.01
    np.testing.assert_allclose(np.linalg.norm(directions[away], axis=-1), 1, atol=0.01)


def test_streamline_has_its_length_and_passes_its_seed():
    directions = np.zeros((brush.HEIGHT, brush.WIDTH, 2), np.float32)
    directions[..., 0] = 1
    path = brush.streamlines(directions, np.array([[0.5, 0.25]], np.float32), 0.2)
    np.testing.assert_allclose(path[0, [0, 4, 8]], [[0.4, 0.25], [0.5, 0.25], [0.6, 0.25]], atol=1e-6)


def test_stroke_lays_its_colour_along_its_path_and_nowhere_else():
    canvas = brush.blank(np.zeros(3, np.float32))
    path = brush.segments(np.array([[0.2, 0.5]], np.float32), np.array([[0.8, 0.5]], np.float32))
    red = np.array([[1, 0, 0]], np.float32)
    brush.paint(canvas, np.random.default_rng(0), path, red, width=0.05, streaks=0)
    picture = brush.finish(canvas, shine=0)
    np.testing.assert_allclose(picture[256, 160:350], np.broadcast_to([1, 0, 0], (190, 3)), atol=1e-6)
    assert not picture[:240].any()
    assert not picture[272:].any()
    assert not picture[:, 415:].any()


def strokes(count, seed=0):
    """Paint strokes of random places and colours on grey; return the canvas."""
    random = np.random.default_rng(seed)
    ends = random.uniform(-0.1, 1.35, (2, count, 2)).astype(np.float32)  # some go over the border
    canvas = brush.blank(np.full(3, 0.5, np.float32))
    colours = random.random((count, 3), np.float32)
    brush.paint(canvas, random, brush.segments(*ends), colours, width=0.03, second=1 - colours)
    return canvas


def test_palette_is_in_unit_range_and_exact():
    np.testing.assert_array_equal(brush.palette("00ff33") * 255, [[0, 255, 51]])
    assert brush.palette("000000", "ffffff").dtype == np.float32


def test_picture_stays_in_range_whatever_the_light():
    canvas = strokes(40)
    assert canvas.colour.max() > 1  # bristles go beyond, so that clipping has something to do
    for shine in (0, 0.16, 100):
        picture = brush.finish(canvas, shine=shine)
        assert picture.shape == (brush.HEIGHT, brush.WIDTH, 3)
        assert picture.dtype == np.float32
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_the_same_seed_paints_the_same():
    first, again, other = strokes(20), strokes(20), strokes(20, seed=1)
    assert first.colour.tobytes() == again.colour.tobytes()
    assert first.relief.tobytes() == again.relief.tobytes()
    assert first.colour.tobytes() != other.colour.tobytes()


def test_later_strokes_cover_earlier_ones_also_across_batches():
    count = brush._BATCH + 1
    ends = np.broadcast_to(np.array([[[0.2, 0.5]], [[0.8, 0.5]]], np.float32), (2, count, 2))
    colours = np.zeros((count, 3), np.float32)
    colours[-1] = (0, 1, 0)
    canvas = brush.blank(np.ones(3, np.float32))
    brush.paint(canvas, np.random.default_rng(0), brush.segments(*ends), colours, width=0.02, streaks=0)
    picture = brush.finish(canvas, shine=0)
    np.testing.assert_array_equal(picture[256, 170:340], np.broadcast_to([0, 1, 0], (170, 3)))


def test_strokes_outside_the_picture_leave_no_trace():
    canvas = brush.blank(np.full(3, 0.5, np.float32))
    path = brush.segments(np.array([[-0.5, -0.3]], np.float32), np.array([[2.0, -0.2]], np.float32))
    brush.paint(canvas, np.random.default_rng(0), path, np.ones(3), width=0.05)
    assert (canvas.colour == 0.5).all()
    assert not canvas.relief.any()


def test_thick_paint_casts_light_and_shade():
    canvas = brush.blank(np.full(3, 0.5, np.float32))
    canvas.relief[400:600, 400:600] = 1
    picture = brush.finish(canvas)
    assert picture[200:300, 200, 0].min() > 0.5  # the edge towards the light
    assert picture[210:290, 300, 0].max() < 0.5  # and the one away from it
    np.testing.assert_allclose(picture[250, 250], 0.5, atol=1e-6)


def test_blank_takes_a_colour_or_a_picture():
    picture = np.random.default_rng(0).random((brush.HEIGHT, brush.WIDTH, 3), np.float32)
    np.testing.assert_allclose(brush.finish(brush.blank(picture)), picture, atol=1e-6)
    assert (brush.finish(brush.blank(brush.palette("336699")[0])) == brush.palette("336699")[0]).all()


def test_fill_covers_the_mask_and_nothing_else():
    x, y = brush.grid()
    inside = np.hypot(x - 0.6, y - 0.5) < 0.2
    canvas = brush.blank(np.zeros(3, np.float32))
    brush.fill(canvas, inside, np.array([1, 1, 0], np.float32))
    np.testing.assert_array_equal(brush.finish(canvas), inside[..., None] * [1, 1, 0])


@pytest.mark.parametrize("angle", [0.3, 2.0, 4.5])
def test_streamlines_of_a_constant_field_are_straight(angle):
    way = np.array([np.cos(angle), np.sin(angle)], np.float32)
    directions = np.broadcast_to(way, (brush.HEIGHT, brush.WIDTH, 2))
    seeds = np.array([[0.3, 0.4], [1.2, 0.9], [-0.2, 1.5]], np.float32)  # the last is off the picture
    paths = brush.streamlines(directions, seeds, 0.16)
    expected = seeds[:, None] + np.linspace(-0.08, 0.08, brush.PATH_POINTS)[:, None] * way
    np.testing.assert_allclose(paths, expected, atol=1e-6)


def test_looking_up_pixels_and_beyond_the_border():
    x, y = brush.grid()
    places = np.stack([x, y], axis=-1) + 0.25 / brush.HEIGHT
    np.testing.assert_array_equal(brush.at(x, places), x)
    np.testing.assert_array_equal(brush.at(y, places), y)
    corners = brush.at(y, np.array([[-1, -1], [5, 5]]))
    np.testing.assert_array_equal(corners, [0, y[-1, -1]])


def test_scattered_places_are_spread_evenly_and_kept_inside_a_mask():
    places = brush.scatter(np.random.default_rng(0), 2000)
    assert (places >= 0).all()
    assert (places < (brush.WIDTH / brush.HEIGHT, 1)).all()
    counts, _, _ = np.histogram2d(*places.T, bins=(5, 4), range=((0, 1.25), (0, 1)))
    assert counts.min() > 0.85 * len(places) / 20
    assert counts.max() < 1.15 * len(places) / 20
    _, y = brush.grid()
    assert (brush.scatter(np.random.default_rng(0), 2000, inside=y < 0.5)[:, 1] < 0.5).all()

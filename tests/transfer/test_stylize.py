import inspect

import jax
import numpy as np
import pytest
from problems import QUICK, Moments, settings
from scipy import ndimage

from nst_jax.errors import ImageError, NstError, SettingError
from nst_jax.images.colour import oklab
from nst_jax.losses.gram import gram_matrix
from nst_jax.networks import vgg
from nst_jax.settings import Settings, Style
from nst_jax.transfer.plan import How
from nst_jax.transfer.stylize import stylize, stylize_grid


def features(network, image, layer):
    return vgg.features(network.params, vgg.to_input(image), layers=[layer])[layer]


# --- What may be given ----------------------------------------------------------------------------


def test_everyday_settings_are_keywords(pair, network):
    long = {"size": 28, "solver.evaluations": 4, "content.weight": 2.0, "style.weight": 50.0}
    expected = stylize(*pair, settings(long | {"init": "noise", "seed": 3}), network=network)
    short = {"size": 28, "evaluations": 4, "content_weight": 2.0, "style_weight": 50.0}
    found = stylize(*pair, settings(), init="noise", seed=3, network=network, **short)
    np.testing.assert_array_equal(found.image, expected.image)
    assert (found.loss, found.evaluations, found.image.shape) == (expected.loss, 4, (21, 28, 3))


def test_it_has_at_most_twelve_parameters():
    assert len(inspect.signature(stylize).parameters) <= 12


def test_the_seed_may_be_a_key(pair, network):
    run = lambda seed: stylize(*pair, settings(), init="noise", evaluations=2, seed=seed, network=network)
    by_number, by_key, other = run(5), run(jax.random.key(5)), run(jax.random.key(6))
    np.testing.assert_array_equal(by_number.image, by_key.image)
    assert not np.array_equal(by_key.image, other.image)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network.pool", "mean", "should be 'avg' or 'max', got 'mean'"),
        ("network.padding", "reflect", "should be 'zero', 'replicate' or 'wrap', got 'reflect'"),
        ("solver.linesearch", "wolfe", "should be 'none' or 'zoom', got 'wolfe'"),
        ("solver.kind", "bfgs", "should be 'lbfgs', 'adam' or 'lbfgsb', got 'bfgs'"),
        ("memory", "lo", "should be 'auto', 'fast' or 'low', got 'lo'"),
        ("style.fit", "cover", "should be 'content', 'aspect' or 'own', got 'cover'"),
        (
            "style.kind",
            "grams",
            "should be 'gram', 'moments', .*'patch' or 'guided_gram', got 'grams'",
        ),
        ("loss.convention", "gatys", "should be 'gatys2016', .*, got 'gatys'"),
        ("solver.evaluations", 0, "should be a whole number of at least 1, got 0"),
    ],
)
def test_values_that_may_not_be_are_value_errors(key, value, message):
    with pytest.raises(ValueError, match=f"{key}: {message}") as caught:
        Settings().with_values({key: value})
    assert isinstance(caught.value, NstError)


def test_values_of_keywords_and_of_a_grid_are_checked_too(pair, network):
    with pytest.raises(ValueError, match=r"evaluations: should be .* got 0"):
        stylize(*pair, evaluations=0, network=network)
    with pytest.raises(ValueError, match=r"memory: should be .* got 'lo'"):
        stylize_grid(*pair, {"memory": ["low", "lo"]}, network=network)


def test_pictures_that_cannot_be_used(pair, network):
    with pytest.raises(ImageError, match="content image has shape"):
        stylize(np.zeros((4, 5)), pair[1], network=network)
    with pytest.raises(NstError, match="there is neither"):
        stylize(None, None, network=network)
    with pytest.raises(NstError, match="init: is 'nois'"):
        stylize(*pair, settings(), init={"nois": 1.0}, network=network)


def test_the_callback_sees_progress_and_can_end_the_run(pair, network):
    seen = []

    def watch(progress):
        seen.append((progress.evaluations, progress.budget, progress.level, progress.levels))
        assert progress.picture().shape in ((24, 32, 3), (12, 16, 3))
        assert progress.loss == pytest.approx(sum(progress.terms.values()), rel=1e-4)
        return progress.level == 2

    found = stylize(*pair, settings({"pyramid.levels": 2}), network=network, callback=watch)
    assert found.status == "interrupted"
    assert found.image.shape == (24, 32, 3)
    assert [n for n, *_ in seen] == sorted(n for n, *_ in seen)
    assert {budget for _, budget, *_ in seen} == {24}
    assert seen[-1][2:] == (2, 2)


def test_an_image_may_be_the_first_one(pair, network):
    first = stylize(*pair, settings(), init=pair[0], evaluations=1, network=network)
    np.testing.assert_allclose(first.image, pair[0], atol=1e-5)
    blend = stylize(*pair, settings(), init={"content": 0.5, "noise": 0.5}, evaluations=1, network=network)
    assert not np.allclose(blend.image, pair[0], atol=0.1)


# --- Without a content or a style -----------------------------------------------------------------


def test_a_content_is_found_again_from_a_shallow_layer(pair, network):
    content = pair[0] ** 2
    chosen = settings({"content.layers": ("conv1_2",), "solver.evaluations": 150})
    found = stylize(content, None, chosen, network=network)
    assert set(found.terms) == {"content/conv1_2", "total_variation"}
    assert found.loss < 0.02 * found.initial_loss
    grey = np.full_like(content, 0.5)
    wanted, got, before = (features(network, image, "conv1_2") for image in (content, found.image, grey))
    assert np.mean((got - wanted) ** 2) < 0.05 * np.mean((before - wanted) ** 2)


@pytest.mark.parametrize("size", [None, (48, 20)])
def test_a_texture_has_the_styles_gram_matrices_at_any_size(pair, network, size):
    style = pair[0] ** 2
    chosen = settings({"style.layers": ("conv1_1",), "solver.evaluations": 200})
    found = stylize(None, style, chosen, size=size, network=network)
    assert found.image.shape == ((20, 48, 3) if size else style.shape)
    assert set(found.terms) == {"style/conv1_1", "total_variation"}
    ours, theirs = (gram_matrix(features(network, image, "conv1_1")) for image in (found.image, style))
    np.testing.assert_allclose(ours, theirs, rtol=0.2)  # the picture is clipped


def seam(image, axis):
    """Return how much the two ends of an image differ, as a multiple of what neighbours elsewhere do."""
    steps = np.abs(np.roll(image, -1, axis) - image).mean((1 - axis, 2))
    return steps[-1] / steps[:-1].mean()


@pytest.mark.parametrize("padding", ["wrap", "zero"])
def test_a_texture_that_wraps_has_no_seam(network, padding):
    """Its style would have one, being brighter to the right and below. Other seeds: under 1.2, over 3.7."""
    y, x = np.mgrid[:60, :80] / 20
    style = np.float32(np.stack([x / 4, (x + y) / 7, 0.5 + 0.4 * np.sin(3 * x + 2 * y)], -1))
    values = {"network.padding": padding, "pyramid.levels": 2, "solver.evaluations": 120}
    values |= {"loss.total_variation": 1.0, "style.weight": 1.0}
    found = stylize(None, style, settings(values), size=(64, 48), network=network)
    both = [seam(found.image, axis) for axis in (0, 1)]
    assert found.loss < 0.5 * found.initial_loss
    assert max(both) < 1.5 if padding == "wrap" else min(both) > 2, both


def test_guided_gram_matrices_lower_the_loss_of_each_region(pair, network):
    maps = np.ones((24, 32, 2), np.float32), np.ones((40, 28, 2), np.float32)
    maps[0][:12, :, 0] = maps[1][:, 14:, 1] = 0
    found = stylize(*pair, settings({"style.kind": "guided_gram"}), init="noise", network=network, maps=maps)
    assert found.loss < 0.5 * found.initial_loss


def two_textures():
    """Return a style of red columns beside blue rows, its map, and a map of one above the other."""
    y, x = np.mgrid[:64, :96]
    red = np.stack([0.6 + 0.4 * (x // 3 % 2), 0.25 + 0 * x, 0.15 + 0.2 * (x // 3 % 2)], -1)
    blue = np.stack([0.1 + 0 * y, 0.3 + 0.3 * (y // 4 % 2), 0.6 + 0.4 * (y // 4 % 2)], -1)
    left = x < 48
    y, x = np.mgrid[:80, :80]
    top = y < 40 + 10 * np.sin(x / 10)
    style = np.float32(np.where(left[..., None], red, blue))
    return style, np.float32(np.stack([left, ~left], -1)), top


def obeying(image, top):
    """Return the share of pixels of each region, but for its edge, around which is its texture's hue."""
    red = ndimage.uniform_filter(image[..., 0] - image[..., 2], 7) > 0
    inner = [ndimage.binary_erosion(region, iterations=4, border_value=1) for region in (top, ~top)]
    return np.mean(red[inner[0]]), np.mean(~red[inner[1]])


def test_a_doodle_obeys_its_map(real_weights):
    style, style_map, top = two_textures()
    maps = np.float32(np.stack([top, ~top], -1)), style_map
    values = {"style.kind": "patch", "style.layers": ("conv2_1", "conv3_1"), "pyramid.levels": 2}
    values |= {"loss.convention": "champandard2016", "solver.evaluations": 30, "network.engine": "direct"}
    with_map, without = (
        stylize(
            None,
            style,
            Settings().with_values(values | {"semantic.weight": gamma}),
            network=real_weights,
            maps=maps,
        )
        for gamma in (50.0, 0.0)
    )
    assert min(obeying(with_map.image, top)) > 0.95
    assert min(obeying(without.image, top)) < 0.7


# --- A term of one's own --------------------------------------------------------------------------

OWN = {"style.kind": Moments(), "style.weight": 10.0}


KINDS = ("moments", "w2", "sliced", "histogram", "strotss", "nnst")
SUM = [{"kind": "gram", "weight": 1}, {"kind": "sliced", "weight": 2.0}]


def kind_of(kind):
    return {"style.terms": SUM} if kind == "sum" else {"style.kind": kind}


@pytest.mark.parametrize("kind", [*KINDS, "sum"])
def test_every_kind_paints_in_a_pyramid_and_in_little_memory(pair, network, kind):
    values = kind_of(kind) | {"pyramid.levels": 2, "pyramid.factor": 1.5, "solver.evaluations": 25}
    found = stylize(*pair, settings(values), network=network)
    passes = 4 if kind == "nnst" else 2
    assert (found.status, found.evaluations) == ("finished", 25 * passes)
    assert found.loss < found.initial_loss
    assert np.isfinite(found.image).all()
    values["pyramid.levels"] = 1  # the program of the second level
    how = [settings(values, memory=each) for each in ("fast", "low")]
    whole, strips = (stylize(*pair, each, network=network) for each in how)
    np.testing.assert_allclose(strips.image, whole.image, atol=0.02)


@pytest.mark.parametrize("kind", ["w2", "sliced", "strotss", "nnst"])
def test_every_kind_paints_the_same_in_a_grid(pair, network, kind):
    weights = [1e2, 1e3]
    base = settings(kind_of(kind))
    found = stylize_grid(*pair, {"style.weight": weights}, base, network=network, how=How(mode="vmap"))
    for weight in weights:
        single = stylize(*pair, base, style_weight=weight, network=network)
        assert found[weight,].loss == pytest.approx(single.loss, rel=0.05)  # ranks may jump with rounding
        assert np.mean(np.abs(found[weight,].image - single.image)) < 0.02


@pytest.mark.parametrize("kind", [*KINDS, "sum"])
def test_every_kind_bears_plain_and_tiny_styles(pair, network, kind):
    content, style = pair
    for odd in (np.zeros_like(style), style[:1, :1]):
        found = stylize(content, odd, settings(kind_of(kind), **{"solver.evaluations": 4}), network=network)
        assert found.status == "finished"
        assert np.isfinite(found.image).all()


@pytest.mark.parametrize("kind", ["w2", "histogram", "strotss", "nnst"])
def test_every_kind_makes_a_texture_and_sees_through_what_is_transparent(pair, network, kind):
    _, style = pair
    hidden = np.concatenate([style, np.ones_like(style[..., :1])], -1)
    hidden[:20, :, 3] = 0
    found = stylize(None, hidden, settings(kind_of(kind), size=32), network=network)
    assert found.loss < found.initial_loss
    other = hidden.copy()
    other[:18, :, :3] = 1 - other[:18, :, :3]
    again = stylize(None, other, settings(kind_of(kind), size=32), network=network)
    np.testing.assert_allclose(again.image, found.image, atol=0.05)


@pytest.mark.parametrize("kind", ["features", "self_similarity"])
def test_a_content_may_be_compared_by_its_own_likeness(pair, network, kind):
    found = stylize(*pair, settings({"content.kind": kind, "content.weight": 1e3}), network=network)
    assert found.terms["content/conv2_2"] >= 0
    assert found.loss < found.initial_loss
    grey = stylize(
        0.5 * pair[0], pair[1], settings({"content.kind": kind, "content.weight": 1e3}), network=network
    )
    assert np.isfinite(grey.image).all()


def test_a_term_of_ones_own_is_fifteen_lines():
    lines = [line for line in inspect.getsource(Moments).splitlines() if line.strip()]
    assert len(lines) <= 15


def test_a_term_of_ones_own_paints(pair, network):
    chosen = Settings(style=Style(kind=Moments())).with_values(QUICK | OWN)
    found = stylize(*pair, chosen, network=network, init="noise")
    assert found.loss < 0.5 * found.initial_loss
    assert set(found.terms) == {"content/conv2_2", "style/conv1_1", "style/conv2_1", "total_variation"}


def test_a_term_of_ones_own_paints_in_little_memory_and_in_a_pyramid(pair, network):
    tall = [np.kron(image, np.ones((3, 1, 1), np.float32)) for image in pair]  # strips have 32 rows at least
    values = OWN | {"pyramid.levels": 2, "solver.evaluations": 3}
    usual, low = (
        stylize(*tall, settings(values | {"memory": memory}), network=network) for memory in ("fast", "low")
    )
    assert usual.evaluations == low.evaluations == 6
    assert low.loss == pytest.approx(usual.loss, rel=1e-3)
    assert usual.loss < usual.initial_loss


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_a_term_of_ones_own_paints_grids(pair, network, mode):
    chosen, axes = settings(OWN), {"style_weight": [1.0, 100.0]}
    grid = stylize_grid(*pair, axes, chosen, network=network, how=How(mode=mode))
    for (weight,), found in grid.items():
        alone = stylize(*pair, chosen, style_weight=weight, network=network)
        assert found.loss == pytest.approx(alone.loss, rel=1e-3 if mode == "vmap" else 0)


# --- Grids ----------------------------------------------------------------------------------------


def test_a_grid_has_a_result_for_each_point(pair, network):
    layers = [["conv1_1"], {"conv1_1": 1.0, "conv2_1": 2.0}]
    axes = {"style_weight": [10.0, 1000.0], "style.layers": layers}
    chosen = settings({"init": "noise", "seed": 3, "solver.evaluations": 5})
    found = stylize_grid(*pair, axes, chosen, network=network)
    keys = [("conv1_1",), (("conv1_1", 1.0), ("conv2_1", 2.0))]
    assert list(found) == [(weight, key) for weight in (10.0, 1000.0) for key in keys]
    alone = stylize(
        *pair, chosen.with_values({"style.layers": layers[0]}), style_weight=10.0, network=network
    )
    assert found[10.0, ("conv1_1",)].loss == pytest.approx(alone.loss, rel=1e-3)


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_a_grid_may_be_of_colours(pair, network, mode):
    kinds = ["style", "content", "matched"]
    grid = stylize_grid(*pair, {"colour": kinds}, settings(), network=network, how=How(mode=mode))
    found = [grid[(kind,)].image for kind in kinds]
    for kind, image in zip(kinds, found, strict=True):
        alone = stylize(*pair, settings(colour=kind), network=network)
        np.testing.assert_allclose(image, alone.image, atol=0 if mode == "threads" else 5e-3)
    assert not np.allclose(found[0], found[2], atol=0.05)
    chroma, wanted = (oklab(image)[..., 1:] for image in (found[1], pair[0]))
    assert np.mean(np.abs(chroma - wanted) < 1e-4) > 0.5  # where it can be shown
    with pytest.raises(SettingError, match="colour: matched needs a content"):
        stylize_grid(None, pair[1], {"colour": ["style", "matched"]}, settings(), network=network)


def test_a_grid_may_be_of_images_and_sizes_and_may_end_early(pair, network):
    chosen = settings({"solver.evaluations": 2})
    first = np.zeros((24, 32, 3), np.float32)
    found = stylize_grid(*pair, {"init": ["content", first]}, chosen, network=network)
    assert list(found) == [("content",), (first.tobytes(),)]
    alone = stylize(*pair, chosen, init=first, network=network)
    np.testing.assert_array_equal(found[first.tobytes(),].image, alone.image)
    sizes = stylize_grid(None, pair[1], {"size": [(16, 20), (20, 16)]}, chosen, network=network)
    assert [each.image.shape[:2] for each in sizes.values()] == [(20, 16), (16, 20)]
    some = stylize_grid(
        *pair,
        {"seed": [1, 2, 3]},
        chosen,
        network=network,
        how=How(max_parallel=1),
        callback=lambda progress: progress.done == 1,
    )
    assert list(some) == [(1,)]


def test_a_grid_of_reconstructions_is_that_of_single_ones(pair, network):
    layers = [("conv1_2",), ("conv2_2",)]
    how = How(mode="threads")
    grid = stylize_grid(pair[0], None, {"content.layers": layers}, settings(), network=network, how=how)
    for (names,), found in grid.items():
        alone = stylize(pair[0], None, settings({"content.layers": names}), network=network)
        assert found.loss == pytest.approx(alone.loss, rel=1e-3)


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_a_grid_of_doodles(pair, network, random, mode):
    maps = random.random((24, 32, 2)), random.random((40, 28, 2))
    values = {"style.kind": "patch", "style.layers": ("conv2_1",), "loss.convention": "champandard2016"}
    chosen = settings(values | {"pyramid.levels": 2, "solver.evaluations": 4})
    common = {"network": network, "maps": maps}
    axes = {"semantic.weight": [0.0, 50.0]}
    found = stylize_grid(None, pair[1], axes, chosen, how=How(mode=mode), **common)
    for (gamma,), result in found.items():
        one = stylize(None, pair[1], chosen.with_values({"semantic.weight": gamma}), **common)
        assert result.loss == pytest.approx(one.loss, rel=1e-3 if mode == "vmap" else 0)
        assert result.image.shape == (24, 32, 3)
    assert found[0.0,].loss != found[50.0,].loss


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"style.wieght": [1.0]}, "did you mean 'weight'"),
        ({"style_wieght": [1.0]}, "unknown setting"),
        ({"network.pool": ["avg", "max"]}, r"network\.pool: is common to all cells"),
        ({"loss.convention": ["johnson"]}, "is common to all cells"),
        ({"solver.kind": ["lbfgs", "lbfgsb"]}, "lbfgsb is for single runs"),
    ],
)
def test_what_a_grid_cannot_be_of(pair, network, axes, message):
    with pytest.raises(NstError, match=message):
        stylize_grid(*pair, axes, network=network)


def test_l_bfgs_b_is_for_single_runs(pair, network):
    with pytest.raises(NstError, match="lbfgsb is for single runs"):
        stylize_grid(*pair, {"seed": [1, 2]}, settings({"solver.kind": "lbfgsb"}), network=network)


def test_mistakes_have_the_names_that_were_given(pair, network):
    given = {"style_weight": -1, "evaluations": 0}
    with pytest.raises(SettingError) as caught:
        stylize(*pair, network=network, **given)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "evaluations",
        "style_weight",
    ]
    for name in ("style_weight", "style.weight"):
        with pytest.raises(SettingError, match=f"^{name}: should be 0, or from"):
            stylize_grid(*pair, {name: [-1]}, network=network)

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import Moments as OwnMoments
from problems import problem, solve, solve_all

from nst_jax.errors import ImageError
from nst_jax.losses.gram import Gram
from nst_jax.losses.moments import Moments
from nst_jax.losses.summed import summed
from nst_jax.losses.wasserstein import Wasserstein
from nst_jax.networks import vgg
from nst_jax.transfer import memory, objective, plan, pyramid, seeing, sharing
from nst_jax.transfer.alike import group_of, program_of
from nst_jax.transfer.canvases import put_on
from nst_jax.transfer.pictures import Frames, Pictures, Places
from nst_jax.transfer.problem import make_problem

CANVAS = (24, 32)
SIZES = [(24, 32), (23, 29), (21, 32), (17, 31)]


@pytest.fixture
def compiled():
    """The seconds of every compilation so far."""
    found = []

    def count(event, seconds, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(count)
    yield found
    jax.monitoring.unregister_event_duration_listener(count)


@pytest.fixture
def photos(random):
    return {size: np.float32(random.uniform(size=(*size, 3))) for size in SIZES}


def on(canvas, photo, pair, network, values=None, **changes):
    return sharing.on_canvas(problem((photo, pair[1]), network, values, **changes), canvas)


# The objective.

ALL = ("conv1_2", "conv3_1", "conv5_1")
TERMS = {
    "gram": Gram(),
    "moments": Moments(),
    "w2": Wasserstein(),
    "both": summed([(Gram(), 1.0), (Moments(), 0.5)]),
}


def masked(content, style, x, canvas, **how):
    """Return what pictures on canvases, with anything beyond them, are compared by."""
    params, term, layers = how.pop("params"), how.pop("term"), how.pop("layers")
    extent = lambda image: jnp.asarray(image.shape[:2], jnp.int32)
    larger = lambda image: jnp.pad(
        image, ((0, canvas[0] - image.shape[0]), (0, canvas[1] - image.shape[1]), (0, 0)), constant_values=77
    )
    of_style = seeing.seen(
        params, larger(style), term=term, term_layers=layers, extent=extent(style), **how
    ).statistics
    P = seeing.seen(params, larger(content), layers=("conv4_2",), extent=extent(content), **how).features
    style = {name: term.target_of(each) for name, each in of_style.items()}
    return larger(x), objective.Targets(P, style, term, extent=extent(x))


@pytest.mark.parametrize(
    ("size", "canvas", "term", "convention", "how"),
    [
        ((32, 48), (48, 64), "gram", "gatys2016", {}),
        ((33, 47), (48, 64), "moments", "literal", {"pool": "max"}),
        ((31, 50), (32, 50), "w2", "johnson", {"engine": "winograd"}),
        ((63, 17), (64, 33), "both", "notebook", {"pool": "max", "engine": "winograd"}),
        ((57, 35), (97, 41), "gram", "johnson", {"recompute": (1,), "breadth": 1}),
        ((73, 35), (101, 41), "moments", "literal", {"recompute": (2, 3), "breadth": 1, "pool": "max"}),
        ((32, 101), (43, 171), "gram", "gatys2016", {"recompute": (3, 4), "breadth": 1}),
        ((40, 33), (40, 33), "gram", "notebook", {}),
    ],
)
def test_loss_and_gradient_on_a_canvas_are_those_of_the_picture(
    narrow, random, monkeypatch, size, canvas, term, convention, how
):
    monkeypatch.setattr(seeing, "TILE_BYTES", 1)  # the smallest tiles
    x, content, style = np.float32(random.normal(0, 60, (3, *size, 3)))
    term = TERMS[term]
    weights = objective.loss_weights(
        convention=convention, total_variation=0.1, content_layers=("conv4_2",), style_layers=ALL
    )
    params = vgg.prepared(narrow, deepest=ALL[-1], engine=how.get("engine", "direct"))
    both = jax.jit(jax.value_and_grad(partial(objective.loss, **how), has_aux=True))
    layers = {"content_layers": ("conv4_2",), "style_layers": ALL}
    plain = {name: value for name, value in how.items() if name == "pool"}
    targets = objective.make_targets(params, content, style, term=term, **layers, **plain)
    (wanted, terms), slope = both(x, params, targets, weights)
    y, targets = masked(content, style, x, canvas, params=params, term=term, layers=ALL, **how)
    (found, parts), larger = both(y, params, targets, weights)
    np.testing.assert_allclose(found, wanted, rtol=2e-5)
    for name in terms:
        np.testing.assert_allclose(parts[name], terms[name], rtol=2e-4, atol=2e-6 * wanted, err_msg=name)
    most = float(abs(slope).max())
    np.testing.assert_allclose(larger[: size[0], : size[1]], slope, rtol=1e-3, atol=2e-5 * most)
    beyond = np.asarray(larger).copy()
    beyond[: size[0], : size[1]] = 0
    assert not beyond.any()


def test_only_averages_that_zeros_add_nothing_to_ignore_them():
    assert all(term.ignores_zeros for term in TERMS.values())
    for term in TERMS.values():
        assert not any(leaf.any() for leaf in jax.tree.leaves(term.statistics(jnp.zeros((4, 5, 3)))))
    assert not OwnMoments().ignores_zeros
    assert not summed([(Gram(), 1.0), (OwnMoments(), 1.0)]).ignores_zeros


# Problems.


@pytest.mark.parametrize(
    "values",
    [
        {"init": "noise", "style.kind": "moments"},
        {"solver.kind": "adam", "pyramid.levels": 2, "style.scale": 0.7},
    ],
)
def test_pixels_go_the_way_that_they_would_go_alone(photos, pair, network, values):
    alone = problem((photos[23, 29], pair[1]), network, values)
    wanted, found = solve(alone), solve(sharing.on_canvas(alone, CANVAS))
    assert found.image.shape == (23, 29, 3)
    np.testing.assert_allclose(found.loss, wanted.loss, rtol=1e-3)
    np.testing.assert_allclose(found.initial_loss, wanted.initial_loss, rtol=1e-4)
    np.testing.assert_allclose(found.image, wanted.image, atol=2e-3)


def test_bands_of_a_canvas_come_as_far(photos, pair, network):
    alone = problem((photos[23, 29], pair[1]), network, {"pyramid.variables": "laplacian"})
    wanted, found = solve(alone), solve(sharing.on_canvas(alone, CANVAS))
    np.testing.assert_allclose(found.initial_loss, wanted.initial_loss, rtol=1e-4)
    assert found.loss < 1.2 * wanted.loss < wanted.initial_loss
    assert abs(found.image - wanted.image).mean() < 0.02


@pytest.mark.parametrize(
    "values",
    [
        {"init": "noise"},
        {"pyramid.levels": 2, "pyramid.variables": "laplacian", "style.kind": "w2"},
        {"solver.kind": "lbfgsb", "style.fit": "aspect"},
        {"style.scale_with": "preview", "style.scale": 0.5, "solver.kind": "adam", "pyramid.levels": 2},
    ],
)
def test_pictures_of_other_sizes_compile_nothing(photos, pair, network, compiled, values):
    first, *others = [on(CANVAS, photo, pair, network, values) for photo in photos.values()]
    solve(first)
    before = len(compiled)
    assert before
    for each in others:
        assert solve(each).image.shape == each.content.shape
    assert len(compiled) == before


def test_looks_are_of_the_picture(photos, pair, network):
    seen = []
    posed = on(CANVAS, photos[23, 29], pair, network, {"pyramid.levels": 2})
    found = solve(posed, lambda look: seen.append((look.raw().shape, look.level)))
    assert seen[0] == ((1, 12, 14, 3), 1)
    assert seen[-1] == ((1, 23, 29, 3), 2)
    assert found.image.shape == (23, 29, 3)


def test_problems_on_a_canvas_are_alike_and_batched(photos, pair, network):
    problems = dict(enumerate(on(CANVAS, photo, pair, network) for photo in photos.values()))
    assert len({(program_of(each), group_of(each)) for each in problems.values()}) == 1
    assert [job.batch.size for job in plan.jobs(problems, (), plan.How(mode="vmap"))] == [len(SIZES)]
    found, done = solve_all(problems, mode="vmap")
    assert done
    for index, each in problems.items():
        result = found[index][0]
        assert result.image.shape == each.content.shape
        np.testing.assert_allclose(result.image, solve(each).image, atol=2e-3)
    apart = problem((photos[24, 32], pair[1]), network)
    assert program_of(apart) != program_of(problems[0])


def test_memory_is_that_of_the_canvas(photos, pair, network):
    here = on((48, 64), photos[24, 32], pair, network, {"solver.kind": "lbfgsb"})
    assert here.size == (48, 64)
    assert here.moving == 48 * 64 * 12
    assert memory.shapes_of(here).state.x.shape == (48, 64, 3)
    alone = problem((photos[24, 32], pair[1]), network, {"solver.kind": "lbfgsb"})
    assert memory.estimate(here).optimiser > 3 * memory.estimate(alone).optimiser


def test_a_level_has_the_canvas_of_all_that_share_one(photos, pair, network):
    every = [
        pyramid.levels(on(CANVAS, photo, pair, network, {"pyramid.levels": 3})) for photo in photos.values()
    ]
    for level in zip(*every, strict=True):
        assert len({(each.canvas, each.paintings[0].canvas) for each in level}) == 1
        for each in level:
            assert all(own <= side for own, side in zip(each.content.shape, each.canvas, strict=False))
    assert every[1][0].content.shape[:2] == (6, 7)  # as without a canvas


def test_the_noise_is_the_pictures_own(photos, pair, network):
    alone = problem((photos[17, 31], pair[1]), network, {"init": "noise"})
    found = np.asarray(sharing.on_canvas(alone, CANVAS).first_image())
    np.testing.assert_array_equal(found, put_on(np.asarray(alone.first_image()), CANVAS))


def test_what_cannot_be_masked_keeps_its_own_size(photos, pair, network, random):
    style = pair[1]
    photo, mask = photos[24, 32], np.ones((24, 32)) * 0.5

    def can(values=None, **more):
        return sharing.can_share(problem((photo, style), network, values, **more))

    assert can()
    assert can({"style.kind": "w2"})
    for values in (
        {"network.padding": "replicate"},
        {"style.kind": "nnst"},
        {"style.kind": OwnMoments()},
        {"content.kind": "self_similarity"},
    ):
        assert not can(values)
    places = Pictures(photo, style, places=Places(keep=mask))
    settings = problem((photo, style), network).settings
    assert not sharing.can_share(make_problem(places, settings, network))
    clear = np.concatenate([style, random.uniform(size=(*style.shape[:2], 1))], -1, dtype=np.float32)
    assert not sharing.can_share(problem((photo, clear), network))
    past = Frames(photo[None], np.ones((1, 24, 32, 1), np.float32), 1.0)
    posed = replace(problem((photo, style), network), past=past)
    assert not sharing.can_share(posed)
    with pytest.raises(ImageError, match="a picture with earlier frames of a film cannot share a canvas"):
        sharing.on_canvas(posed, CANVAS)
    with pytest.raises(ImageError, match="a canvas of 31 x 24 pixels cannot hold a picture of 32 x 24"):
        sharing.on_canvas(problem((photo, style), network), (24, 31))


def test_problems_are_put_on_few_canvases(photos, pair, network):
    upright = {(w, h): photo.swapaxes(0, 1) for (h, w), photo in photos.items()}
    every = [problem((photo, pair[1]), network) for photo in (*photos.values(), *upright.values())]
    every.append(problem((photos[23, 29], pair[1]), network, {"style.kind": "nnst"}))
    every.append(problem((np.zeros((90, 90, 3), np.float32), pair[1]), network))
    found = sharing.on_canvases(every, most=3, price=0)
    assert [each.canvas for each in found] == 4 * [(24, 32)] + 4 * [(32, 24)] + 2 * [None]
    assert found[-1] is every[-1]

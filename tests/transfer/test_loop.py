import io
import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from makers import NARROW
from PIL import Image
from problems import network_of, problem, settings, solve

from nst_jax.errors import NstError
from nst_jax.images.colour import lightness, recoloured
from nst_jax.losses.patches import PatchStyle, Source, nearest, patch_loss
from nst_jax.networks import vgg
from nst_jax.settings import Settings
from nst_jax.solvers import scipy_lbfgsb, streamed
from nst_jax.solvers.state import RUNNING
from nst_jax.transfer import objective, program
from nst_jax.transfer.looks import Result
from nst_jax.transfer.loop import solve as solve_batch
from nst_jax.transfer.pictures import Frames, Pictures, Places, coloured, sized
from nst_jax.transfer.problem import make_problem
from nst_jax.transfer.pyramid import levels
from nst_jax.transfer.stretch import Batch, digest

PATCHES = {"style.kind": "patch", "style.layers": ("conv2_1",), "loss.convention": "champandard2016"}
PATCHES |= {"pyramid.levels": 1, "content.layers": (), "content.weight": 0.0}

SCIPY = {"solver.kind": "lbfgsb", "solver.evaluations": 20}


@pytest.fixture(autouse=True)
def _no_thread_left():
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def done(look):
    return int(look.evaluations[0])


def test_the_narrow_network_has_all_of_vgg19s_names(narrow):
    assert vgg.blocks_of(narrow) == NARROW


def test_the_loss_falls_and_the_result_is_an_image(pair, network):
    found = solve(problem(pair, network, {"solver.evaluations": 40}))
    assert (found.status, found.evaluations) == ("finished", 40)
    assert found.loss < 0.5 * found.initial_loss
    assert found.loss == pytest.approx(sum(found.terms.values()), rel=1e-4)
    assert set(found.terms) == {"content/conv2_2", "style/conv1_1", "style/conv2_1", "total_variation"}
    assert (found.image.shape, found.image.dtype) == ((24, 32, 3), np.float32)
    assert found.image.min() >= 0
    assert found.image.max() <= 1
    assert "40 evaluations" in found.sentence


def test_a_result_shows_itself_in_a_notebook(pair, network):
    found = solve(problem(pair, network, {"solver.evaluations": 2}))
    shown = np.asarray(Image.open(io.BytesIO(found._repr_png_())))
    np.testing.assert_array_equal(shown, np.floor(found.image * 255 + 0.5))


def test_a_disk_too_small_for_the_last_size_is_refused_before_any_work(pair, network, monkeypatch):
    """Only the history of the last of three sizes does not fit."""
    values = {"solver.history_on": "disk", "solver.history": 10, "pyramid.levels": 3}
    posed = problem(pair, network, values)
    looks = []
    free = streamed.nbytes(posed.moving // 4, 10, is_short=False) - 1
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(NstError, match="the history needs"):
        solve(posed, looks.append)
    assert looks == []
    free += 1
    assert solve(posed, looks.append).status == "finished"


@pytest.mark.parametrize("status", ["running", "finished", "stalled", "not finite", "interrupted"])
def test_every_status_has_its_sentence(status):
    assert Result(np.zeros((1, 1, 3)), 0.0, {}, 0.0, 3, status, 0.0).sentence


@pytest.mark.parametrize(
    "values",
    [
        {"solver.kind": "adam"},
        {"solver.linesearch": "zoom"},
        {"network.pool": "max", "network.padding": "replicate"},
        {"network.engine": "winograd"},
        {"content.layers": ("conv4_2",), "style.layers": ("conv1_1", "conv5_1")},
    ],
    ids=lambda values: next(iter(values)),
)
def test_every_way_to_optimise_lowers_the_loss(pair, network, values):
    found = solve(problem(pair, network, values))
    assert found.loss < found.initial_loss


@pytest.mark.parametrize("kind", ["gram", "sliced"])
@pytest.mark.parametrize("place", ["host", "disk"])
def test_a_history_elsewhere_paints_the_same(pair, network, kind, place):
    values = {"style.kind": kind, "solver.evaluations": 12, "solver.history": 5}
    wanted = solve(problem(pair, network, values))
    found = solve(problem(pair, network, values | {"solver.history_on": place}))
    assert (found.status, found.evaluations) == ("finished", 12)
    # Where targets are renewed, a pair that is none takes no place here.
    assert found.loss == pytest.approx(wanted.loss, rel=1e-2 if kind == "gram" else 0.1)
    np.testing.assert_allclose(found.image, wanted.image, atol=0.02 if kind == "gram" else 0.2)


def test_the_same_problem_gives_the_same_bits_however_often_one_looks(pair, network):
    posed = problem(pair, network, {"init": "noise", "seed": 3})
    seen = []
    a, b = solve(posed), solve(posed, lambda look: seen.append(done(look)), stops=5)
    np.testing.assert_array_equal(a.image, b.image)
    assert a.loss == b.loss
    assert {5, 10, 12} <= set(seen)


def test_the_watcher_sees_how_far_it_is_and_can_end_the_run(pair, network):
    seen = []

    def watch(look):
        seen.append(look)
        assert look.pictures().shape == (1, 24, 32, 3)
        return done(look) >= 3

    found = solve(problem(pair, network), watch, stops=1)
    assert (found.status, found.evaluations) == ("interrupted", 3)
    assert [done(look) for look in seen] == [1, 2, 3]
    assert seen[0].loss[0] == seen[0].initial_loss[0] == pytest.approx(found.initial_loss)
    assert {(look.budget, look.before, look.level, look.levels) for look in seen} == {(12, 0, 1, 1)}
    assert seen[0].left is None  # nothing is known yet
    assert [look.seconds for look in seen] == sorted(look.seconds for look in seen)


def test_a_watcher_that_ends_a_run_at_its_last_look_is_too_late(pair, network):
    assert solve(problem(pair, network), lambda look: done(look) == 12).status == "finished"


def test_a_second_run_of_the_same_shapes_does_not_trace_again(pair, network, monkeypatch):
    solve(problem(pair, network, {"content.weight": 1.0}))
    monkeypatch.setattr(objective, "loss", lambda *a, **k: pytest.fail("traced again"))
    solve(problem(pair, network, {"content.weight": 2.0}))


@pytest.mark.parametrize("kind", ["lbfgs", "lbfgsb"])
def test_a_network_that_is_not_finite_ends_the_run_with_the_first_image(pair, narrow, kind):
    broken = narrow | {"conv1_1": jax.tree.map(lambda leaf: leaf * jnp.nan, narrow["conv1_1"])}
    found = solve(problem(pair, network_of(broken), {"solver.kind": kind}))
    assert (found.status, found.evaluations) == ("not finite", 1)
    np.testing.assert_allclose(found.image, pair[0], atol=1e-5)


def test_degenerate_pictures_stay_finite(network):
    black = np.zeros((24, 32, 3), np.float32)
    for content, style in ((black, black), (black + 1, black), (black + 0.5, black + 1)):
        found = solve(problem((content, style), network))
        assert np.isfinite(found.image).all()
        assert np.isfinite(found.loss)


def test_a_batch_is_filled_up_with_its_last_problem(pair, network):
    posed = tuple(problem(pair, network, {"style.weight": weight}) for weight in (10.0, 1e4))
    looks = []
    found = solve_batch(Batch(posed, size=3), looks.append, is_fitted=True)
    assert len(found) == 2
    assert looks[-1].loss.shape == (3,)
    assert looks[-1].loss[1] == looks[-1].loss[2]
    for one, result in zip(posed, found, strict=True):
        assert result.loss == pytest.approx(solve(one).loss, rel=1e-3)


def test_digests_are_of_contents():
    image = np.float32([[[1, 2, 3]]])
    assert digest(image) == digest(image.copy()) != digest(image + 1)
    assert digest(image[::1, :, ::-1]) != digest(image)
    assert digest(None) == digest(None)


# --- Patches --------------------------------------------------------------------------------------


def features(network, image):
    return vgg.features(network.params, vgg.to_input(image), layers=["conv2_1"])["conv2_1"]


def compared(network, style):
    """Return what patches of a style are searched in, without maps."""
    S = features(network, style)
    return PatchStyle((Source(S, jnp.zeros((*S.shape[:2], 0))),), jnp.zeros((12, 16, 0)))


def test_the_loss_falls_while_matches_change(pair, network):
    """The objective jumps where a match changes; full L-BFGS steps get over it, and few are in vain."""
    posed = problem(pair, network, PATCHES | {"init": "noise", "solver.evaluations": 60})
    seen = []
    found = solve(posed, lambda look: seen.append(float(look.loss[0])), stops=1)
    assert found.status == "finished"
    assert seen == sorted(seen, reverse=True)  # of the best so far
    assert len(set(seen)) > 30  # most steps found a better picture
    assert found.loss < 0.2 * found.initial_loss
    target = compared(network, posed.paintings[0].image)
    grey = np.full((24, 32, 3), 0.45, np.float32)
    first, last = (nearest(features(network, image), target)[0] for image in (grey, found.image))
    assert np.mean(first != last) > 0.5


def test_matches_may_be_held_for_some_evaluations(pair, network):
    posed = [
        problem(pair, network, PATCHES | {"patch.rematch": n, "solver.evaluations": 24}) for n in (1, 6, 1000)
    ]
    found = [solve(each) for each in posed]
    target = compared(network, posed[0].paintings[0].image)
    every, held, never = (float(patch_loss(features(network, each.image), target)) for each in found)
    assert not np.array_equal(found[0].image, found[1].image)
    assert held < never  # those of the first image are not the last's
    assert held < 1.5 * every


def test_copies_of_the_style_give_more_to_choose_from(pair, network):
    plain, turned = (
        solve(problem(pair, network, PATCHES | {"patch.rotations": turns})) for turns in ((), (-7.5, 7.5))
    )
    assert not np.array_equal(plain.image, turned.image)
    assert turned.terms["style/conv2_1"] < 1.05 * plain.terms["style/conv2_1"]


# --- Where SciPy leads ----------------------------------------------------------------------------


def test_scipy_lowers_the_loss_the_same_each_time(pair, network):
    posed, seen = problem(pair, network, SCIPY | {"init": "noise", "seed": 3}), []
    a, b = solve(posed), solve(posed, lambda look: seen.append(done(look)), stops=7)
    assert (a.status, a.evaluations) == ("finished", 20)
    assert a.loss < 0.5 * a.initial_loss
    np.testing.assert_array_equal(a.image, b.image)
    assert {7, 14, 20} <= set(seen)


def test_the_picture_stays_within_the_range_of_its_sources(pair, network):
    grey = [np.float32(0.45 + 0.1 * image) for image in pair]
    posed = problem(grey, network, SCIPY, init=np.zeros((24, 32, 3), np.float32))
    low, high = scipy_lbfgsb.bounds(vgg.to_input(posed.content), vgg.to_input(posed.paintings[0].image))
    x = vgg.to_input(solve(posed).image)
    assert x.min() == pytest.approx(low, abs=1e-3)  # some pixels want to be darker
    assert low - 1e-3 <= x.min() <= x.max() <= high + 1e-3


def test_a_run_of_scipys_can_be_interrupted_and_a_mistake_of_the_watcher_leaves_no_thread(pair, network):
    found = solve(problem(pair, network, SCIPY), lambda look: done(look) >= 5, stops=5)
    assert (found.status, found.evaluations) == ("interrupted", 5)

    def fail(look):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(problem(pair, network, SCIPY), fail)


def test_each_level_of_scipys_is_a_run_of_its_own(pair, network):
    found = solve(problem(pair, network, SCIPY | {"pyramid.levels": 2, "solver.evaluations": 6}))
    assert (found.image.shape, found.evaluations) == ((24, 32, 3), 12)


def test_statuses_of_a_look_say_what_runs(pair, network):
    seen = []
    solve(problem(pair, network), lambda look: seen.append(int(look.status[0])), stops=6)
    assert seen[0] == RUNNING
    assert seen[-1] != RUNNING


# --- The content's colours ------------------------------------------------------------------------


def in_greys(pair):
    found = coloured(sized(Pictures(*pair), Settings()), Settings(colour="content"))
    return found.content, found.style[0]


@pytest.mark.parametrize(
    "values",
    [{}, {"style.kind": "moments"}, PATCHES, {"init": "style"}, {"pyramid.levels": 2}, SCIPY],
    ids=["gram", "moments", "patch", "from the style", "levels", "scipy"],
)
def test_colours_are_put_back_wherever_pictures_come_out_and_nowhere_else(pair, network, values):
    """What is optimised is a run on the grey pictures, bit for bit, from one level to the next too."""
    kept, plain = [], []
    values = {"solver.evaluations": 6} | values
    found = solve(
        problem(pair, network, values, colour="content"), lambda look: kept.append(look.pictures()), stops=2
    )
    grey = solve(
        problem(in_greys(pair), network, values), lambda look: plain.append(look.pictures()), stops=2
    )
    assert found.loss == grey.loss
    np.testing.assert_array_equal(found.image, recoloured(grey.image, pair[0]))
    assert not np.allclose(found.image, grey.image, atol=0.1)
    for ours, raw in zip(kept[-1], plain[-1], strict=True):
        np.testing.assert_array_equal(ours, recoloured(raw, pair[0]))
    for ours, raw in zip(kept[0], plain[0], strict=True):
        assert ours.shape == raw.shape  # of the first level
        np.testing.assert_array_equal(ours, recoloured(raw, pair[0]))


def test_a_run_that_goes_on_from_its_picture_begins_with_its_lightness(pair, network):
    first = solve(problem(pair, network, colour="content"))
    again = problem(pair, network, colour="content", init=first.image)
    np.testing.assert_allclose(
        lightness(vgg.to_image(again.first_image())), lightness(first.image), atol=1e-5
    )
    assert solve(again).initial_loss < first.initial_loss


def test_a_batch_that_is_not_full_shows_each_picture_in_its_own_colours(pair, network):
    many = tuple(problem(pair, network, colour=kind) for kind in ("style", "content"))
    seen = []
    results = solve_batch(Batch(many, size=3), lambda look: seen.append(look), is_fitted=True)
    pictures = seen[-1].pictures()
    assert len(pictures) == 2
    for picture, result in zip(pictures, results, strict=True):
        np.testing.assert_array_equal(picture, result.image)
    np.testing.assert_array_equal(seen[-1].raw()[0], pictures[0])
    np.testing.assert_array_equal(recoloured(seen[-1].raw()[1], pair[0]), pictures[1])


@pytest.mark.parametrize("kind", ["gram", "patch"])
def test_what_is_left_alone_is_left_alone_at_every_size(pair, network, kind):
    """And counts for nothing: a picture there that is not the content's changes nothing elsewhere."""
    content, style = pair
    keep = np.zeros(content.shape[:2], np.float32)
    keep[:, :12] = 1
    chosen = settings({"style.kind": kind, "pyramid.levels": 2, "style.layers": ("conv2_1",)})
    posed = make_problem(Pictures(content, style, init="noise", places=Places(keep=keep)), chosen, network)
    seen = []
    found = solve(posed, lambda look: seen.append(look.pictures()[0]))
    np.testing.assert_array_equal(found.image[:, :12], posed.content[:, :12])
    assert not np.allclose(found.image[:, 12:], posed.content[:, 12:], atol=0.1)
    half = seen[0].shape[1] * 12 // content.shape[1]
    assert np.ptp(seen[0][:, half + 1 :]) > 0
    for picture in seen:
        edge = picture.shape[1] * 12 // content.shape[1]
        source = posed.content if picture.shape == posed.content.shape else levels(posed)[0].content
        np.testing.assert_array_equal(picture[:, :edge], source[:, :edge])
    assert found.loss < found.initial_loss


# Films.


def film(pair, network, images, trust, values=None, weight=1.0):
    pictures = Pictures(*pair, past=Frames(np.stack(images), np.stack(trust), weight))
    return make_problem(pictures, settings(values), network)


def test_where_the_past_is_trusted_the_picture_stays_as_it_was(pair, network):
    """Left half of the frame; the right half is free, as in a run without a past."""
    before = solve(problem(pair, network, {"solver.evaluations": 40})).image
    half = np.zeros((24, 32, 1), np.float32)
    half[:, :16] = 1
    now = film(pair, network, [before[:, ::-1]], [half], {"solver.evaluations": 40}, weight=1e6)
    found = solve(now)
    assert np.abs(found.image - before[:, ::-1])[:, :16].max() < 0.01
    assert np.abs(found.image - before[:, ::-1])[:, 16:].max() > 0.1
    assert set(found.terms) == {
        *("content/conv2_2", "style/conv1_1", "style/conv2_1", "total_variation", "temporal")
    }


def test_a_past_that_is_nowhere_trusted_changes_nothing(pair, network):
    nowhere = np.zeros((24, 32, 1), np.float32)
    found = solve(film(pair, network, [pair[0]], [nowhere]))
    np.testing.assert_allclose(found.image, solve(problem(pair, network)).image, atol=1e-4)
    assert found.terms["temporal"] == 0


def test_frames_of_a_film_share_one_program_at_each_size(pair, network, random):
    def frame(weight):
        trust = np.float32(random.uniform(size=(24, 32, 1)))
        solve(film(pair, network, [pair[0] * weight], [trust], {"pyramid.levels": 2}, weight=weight))

    frame(0.5)
    before = program._compiled.cache_info().misses
    frame(1.0)
    assert program._compiled.cache_info().misses == before


def test_the_past_of_a_picture_in_greys_is_in_greys(pair, network):
    whole = np.ones((24, 32, 1), np.float32)
    posed = film(pair, network, [pair[0]], [whole], {"colour": "content"})
    np.testing.assert_array_equal(posed.past.images[0], posed.content)

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.losses import patches
from nst_jax.losses.patches import Patches, PatchStyle, Source
from nst_jax.losses.terms import Guides
from nst_jax.settings import GAMMA, Settings


def windows(x, k):
    """Return every patch, one after the other, in plain NumPy."""
    rows, columns = x.shape[0] - k + 1, x.shape[1] - k + 1
    return np.stack(
        [x[i : i + k, j : j + k].ravel() for i, j in itertools.product(range(rows), range(columns))]
    )


def brute(F, m, Fs, ms, gamma, k):
    """Return the nearest patches' indexes and the loss, by equations (3) and (4)."""
    s, t = (windows(np.concatenate([f, gamma * g], -1).astype(float), k) for f, g in ((F, m), (Fs, ms)))
    score = (s @ t.T) / np.linalg.norm(s, axis=1)[:, None] / np.linalg.norm(t, axis=1)
    best = score.argmax(1)
    return best, np.mean((windows(F, k) - windows(Fs, k)[best]) ** 2)


def drawn(random, height, width, channels=5, labels=2):
    F = np.float32(random.exponential(size=(height, width, channels)))
    return F, np.float32(random.random((height, width, labels)))


def setting(random, image=(7, 9), style=(8, 6), labels=2, gamma=3.0):
    (F, m), (Fs, ms) = drawn(random, *image, labels=labels), drawn(random, *style, labels=labels)
    return F, m, Fs, ms, PatchStyle((Source(Fs, gamma * ms),), gamma * m)


def weighed(style, gamma):
    """Return the same with other weights of its maps."""
    sources = tuple(Source(source.features, gamma * source.map) for source in style.sources)
    return PatchStyle(sources, gamma * style.map)


@pytest.mark.parametrize(("image", "style"), [((7, 9), (8, 6)), ((3, 3), (5, 11)), ((12, 4), (3, 3))])
@pytest.mark.parametrize(("k", "memory"), [(1, 1500), (2, 2**26), (3, 1), (3, 6000)])
def test_matches_and_loss_are_those_of_brute_force(random, k, image, style, memory):
    F, m, Fs, ms, target = setting(random, image, style)
    best, loss = brute(F, m, Fs, ms, 3.0, k)
    begins, apart = patches.nearest(F, target, size=k, memory=memory)
    columns = style[1] - k + 1
    np.testing.assert_array_equal(begins.ravel(), best // columns * style[1] + best % columns)
    assert np.all(apart == style[1])
    found = patches.patch_loss(F, target, size=k, memory=memory)
    np.testing.assert_allclose(found, loss, rtol=1e-5)


def test_without_semantics_it_is_plain_li_and_wand(random):
    F, m, Fs, ms, target = setting(random)
    plain = brute(F, m[..., :0], Fs, ms[..., :0], 0.0, 3)[1]
    none = PatchStyle((Source(Fs, ms[..., :0]),), m[..., :0])
    for style in (weighed(target, 0.0), none):
        np.testing.assert_allclose(patches.patch_loss(F, style), plain, rtol=1e-5)
    assert not np.isclose(patches.patch_loss(F, weighed(target, 20.0)), plain)


def test_a_style_turned_upside_down_gives_matches_turned_likewise(random):
    F, m, Fs, ms, target = setting(random, style=(8, 6))
    mirrored = PatchStyle((Source(Fs[:, ::-1], 3 * ms[:, ::-1]),), 3 * m)
    begins, _ = patches.nearest(F, target, size=1)
    other, _ = patches.nearest(F, mirrored, size=1)
    np.testing.assert_array_equal(begins // 6, other // 6)
    np.testing.assert_array_equal(begins % 6, 5 - other % 6)


def test_the_gradient_is_that_of_the_quadratic_with_matches_held(random):
    F, _, Fs, _, target = setting(random)
    begins, apart = patches.nearest(F, target)
    wanted = np.zeros_like(F)
    for i, j in itertools.product(range(5), range(7)):
        row, column = divmod(int(begins[i, j]), 6)
        wanted[i : i + 3, j : j + 3] += 2 * (F[i : i + 3, j : j + 3] - Fs[row : row + 3, column : column + 3])
    wanted /= 5 * 7 * 9 * 5
    found = jax.grad(patches.patch_loss)(F, target)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    held = jax.grad(patches.patch_loss)(F, replace(target, held=(begins, apart)))
    np.testing.assert_allclose(held, found, rtol=1e-6)


def test_maps_choose_without_a_gradient_and_batches_equal_single_calls(random):
    F, _, _, _, target = setting(random)
    slope = jax.grad(patches.patch_loss, argnums=1)(F, target)
    assert not np.any(slope.map)
    assert not np.any(slope.sources[0].map)
    loss = lambda gamma: patches.patch_loss(F, weighed(target, gamma))
    gammas = jnp.asarray([0.0, 3.0, 50.0])
    np.testing.assert_allclose(jax.vmap(loss)(gammas), [loss(gamma) for gamma in gammas], rtol=1e-6)


def test_several_sources_are_one_table(random):
    F, m, Fs, ms, _ = setting(random)
    other, map_ = drawn(random, 5, 7)
    begins, apart = patches.nearest(F, PatchStyle((Source(Fs, ms), Source(other, map_)), m))
    first, second = (windows(np.concatenate(pair, -1), 3) for pair in ((Fs, ms), (other, map_)))
    own = windows(np.concatenate([F, m], -1), 3)
    high = [(own @ s.T / np.linalg.norm(s, axis=1)).max(1) for s in (first, second)]
    np.testing.assert_array_equal(apart.ravel() == 7, high[1] > high[0])
    assert np.all((begins >= 48) == (apart == 7))
    same = PatchStyle((Source(other, map_), Source(F, m)), m)
    assert float(patches.patch_loss(F, same)) == 0


def test_balanced_maps_count_as_much_as_features_at_fifty(random):
    Fs, ms = drawn(random, 8, 6)
    part = GAMMA * patches.balance(Fs, ms) * ms
    np.testing.assert_allclose(np.sum(np.square(part)), np.sum(np.square(Fs)), rtol=1e-5)
    assert patches.balance(Fs, 0 * ms) == 0
    assert patches.balance(Fs, ms[..., :0]) == 0


def test_patches_of_nothing_are_no_trouble(random):
    F, m, Fs, ms, _ = setting(random)
    style = PatchStyle((Source(0 * Fs, 0 * ms),), m)
    assert np.isfinite(patches.patch_loss(F, style))
    assert np.all(np.isfinite(jax.grad(patches.patch_loss)(0 * F, style)))


def test_variety_avoids_what_has_been_chosen_often(random):
    F, m, _, _, target = setting(random, image=(11, 12), style=(8, 6), gamma=1.0)
    F = F[:1] + 0.1 * F  # rows that are much alike
    style = PatchStyle((*target.sources, Source(*drawn(random, 5, 7))), m)
    own = windows(np.concatenate([F, m], -1).astype(float), 2).reshape(10, 11, -1)
    tables = [windows(np.concatenate([s.features, s.map], -1).astype(float), 2) for s in style.sources]
    every = np.concatenate([t / np.linalg.norm(t, axis=1)[:, None] for t in tables])
    wanted, n = np.zeros((10, 11), int), np.zeros(len(every))
    for first in (0, 4, 6):  # the last rows overlap
        evenly = max(1, n.sum()) / len(every)
        score = own[first : first + 4] @ every.T * (1 - 0.3 * n / (n + evenly))
        wanted[first : first + 4] = score.argmax(-1)
        n += np.bincount(wanted[first : first + 4].ravel(), minlength=len(every))
    place = [i * 6 + j for i in range(7) for j in range(5)] + [
        48 + i * 7 + j for i in range(4) for j in range(6)
    ]
    begins, apart = patches.nearest(F, style, size=2, variety=0.3)
    np.testing.assert_array_equal(begins, np.asarray(place)[wanted])
    np.testing.assert_array_equal(apart, np.where(wanted < 35, 6, 7))
    plain, _ = patches.nearest(F, style, size=2)
    assert len(np.unique(begins)) > 1.2 * len(np.unique(plain))


@pytest.mark.parametrize("budget", [2**16, 2**20])
def test_scores_never_exist_all_at_once(random, budget):
    F, _, _, _, target = setting(random, image=(40, 40), style=(40, 40), labels=0)
    search = jax.jit(lambda F, target: patches.nearest(F, target, memory=budget))
    taken = search.lower(F, target).compile().memory_analysis().temp_size_in_bytes
    assert taken < 4 * budget + 2**18  # all pairs would be 8 MiB


def test_targets_are_the_styles_features_with_maps_balanced_and_weighed(random):
    F, m, Fs, ms, _ = setting(random)
    term = Patches(rematch=2, turns=((90.0, 1.0),))
    turned = [np.rot90(each) for each in (Fs, ms)]
    target = term.targets([Fs, turned[0]], Guides((ms, turned[1]), m, 7.0))
    factor = 7 * patches.balance(Fs, ms)
    for found, wanted in zip(target.sources, ((Fs, ms), turned), strict=True):
        np.testing.assert_array_equal(found.features, wanted[0])
        np.testing.assert_allclose(found.map, factor * wanted[1], rtol=1e-6)
    np.testing.assert_allclose(target.map, factor * m, rtol=1e-6)
    renewed = term.renewed(F, target)
    assert jax.tree.structure(renewed) == jax.tree.structure(target)
    free = replace(target, held=None)
    np.testing.assert_array_equal(renewed.held[0], patches.nearest(F, free)[0])
    np.testing.assert_allclose(term.loss(F, renewed), Patches().loss(F, free), rtol=1e-6)
    assert Patches().targets([Fs], Guides((ms,), m, 1.0)).held is None


def test_the_term_is_what_settings_say():
    assert Patches.of(Settings()) == Patches()
    values = {"patch.size": 5, "patch.rotations": (-10, 10), "patch.scales": (0.9,), "patch.variety": 0.1}
    term = Patches.of(Settings().with_values(values | {"patch.rematch": 4, "patch.memory": "1KiB"}))
    assert term.copies == ((0, 0.9), (-10, 1), (-10, 0.9), (10, 1), (10, 0.9))
    assert (term.extent, term.room, term.renew_every) == (5, 10, 4)
    assert (term.variety, term.memory) == (0.1, 1024)


def test_no_patch_with_a_transparent_position_is_chosen(random):
    F, m, Fs, ms, _ = setting(random, labels=0)
    height, width = Fs.shape[:2]
    visible = np.ones((height, width, 1), np.float32)
    visible[:, width // 2 :] = 0
    target = Patches().targets([Fs], Guides((ms,), m, 1.0, (visible,)))
    begins, _ = patches.nearest(F, target)
    assert (np.asarray(begins) % width <= width // 2 - 3).all()
    half = Patches().targets([Fs[:, : width // 2]], Guides((ms[:, : width // 2],), m, 1.0))
    np.testing.assert_allclose(Patches().loss(F, target), Patches().loss(F, half), rtol=1e-5)

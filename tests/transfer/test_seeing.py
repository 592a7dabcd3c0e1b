from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.moments import Moments
from nst_jax.losses.regions import by_regions
from nst_jax.losses.terms import INPUT, Guides
from nst_jax.transfer import objective, seeing

CONTENT, STYLE = ("conv4_2",), ("conv1_1", "conv2_1", "conv3_1")


@pytest.mark.parametrize(
    ("recompute", "pool", "size", "padding"),
    [
        ((1,), "avg", (64, 16), "zero"),
        ((1, 2), "max", (67, 21), "zero"),
        ((1, 2), "avg", (64, 16), "wrap"),
        ((1, 2, 3), "avg", (90, 21), "zero"),
        ((2,), "max", (109, 17), "zero"),
        ((3,), "avg", (225, 12), "zero"),
        ((2, 3), "max", (17, 301), "zero"),
        ((3, 4), "avg", (109, 85), "zero"),
        ((2, 3, 4), "max", (70, 31), "zero"),
        ((4,), "avg", (39, 173), "zero"),
    ],
)
def test_features_computed_again_give_the_same_loss_and_gradient(
    narrow, random, monkeypatch, recompute, pool, size, padding
):
    monkeypatch.setattr(seeing, "TILE_BYTES", 1)  # the smallest tiles
    x, content, style = random.normal(0, 60, (3, *size, 3))
    layers = {"content_layers": CONTENT, "style_layers": ("conv1_2", *STYLE)}
    weights = objective.loss_weights(**layers)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(np.float64(a)), narrow)
        x, content, style = map(jnp.asarray, (x, content, style))
        how = {"pool": pool, "padding": padding}
        targets = objective.make_targets(params, content, style, **how, **layers)
        run = partial(objective.loss, **how, breadth=1)
        both = jax.jit(jax.value_and_grad(run, has_aux=True), static_argnames="recompute")
        (wanted, _), slope = both(x, params, targets, weights, recompute=())
        (found, _), again = both(x, params, targets, weights, recompute=recompute)
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
        np.testing.assert_allclose(again, slope, rtol=1e-8, atol=1e-12 * float(abs(slope).max()))


def term_of(kind, regions):
    term = {"gram": Gram(), "moments": Moments(), "guided_gram": GuidedGram()}[kind]
    return by_regions(term, regions) if regions else term


@pytest.mark.parametrize(
    ("kind", "regions"), [("guided_gram", 0), ("gram", 1), ("moments", 2), ("guided_gram", 1)]
)
def test_what_counts_of_each_place_is_seen_in_tiles_too(narrow, random, monkeypatch, kind, regions):
    """Some tiles have nothing that counts; a region is nowhere."""
    monkeypatch.setattr(seeing, "TILE_BYTES", 1)
    height, width = 150, 37
    x, content, style = random.normal(0, 60, (3, height, width, 3))
    maps = np.zeros((height, width, 3))
    maps[:40, :, 0] = maps[40:, :20, 1] = 1
    where = np.zeros((height, width, max(1, regions)))
    where[60:, :, 0] = random.uniform(0, 1, (height - 60, width))
    where[:60, :, -1] += 0.5
    term, layers = term_of(kind, regions), ("conv1_2", "conv2_1", "conv3_1")
    weights = objective.loss_weights(content_layers=CONTENT, style_layers=layers)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(np.float64(a)), narrow)
        x, content, style, maps, where = map(jnp.asarray, (x, content, style, maps, where))
        painting = seeing.seen(params, style, layers=layers).features | {INPUT: style}
        count = max(1, regions)
        guides = Guides((maps,) * count, maps, jnp.ones(()), where=where if regions else None)
        targets = replace(
            objective.make_targets(params, content, style, content_layers=CONTENT, style_layers=layers),
            style=objective.style_targets(term, [painting] * count, guides, layers=layers),
            term=term,
        )
        run = partial(objective.loss, breadth=1)
        both = jax.jit(jax.value_and_grad(run, has_aux=True), static_argnames="recompute")
        (wanted, _), slope = both(x, params, targets, weights, recompute=())
        (found, _), again = both(x, params, targets, weights, recompute=(2, 3))
        np.testing.assert_allclose(found, wanted, rtol=1e-10)
        np.testing.assert_allclose(again, slope, rtol=1e-8, atol=1e-12 * float(abs(slope).max()))


def test_blocks_in_tiles_keep_nothing_of_their_size(narrow):
    """The first block's features, at full resolution, are not among what the gradient needs."""
    weights = objective.loss_weights(content_layers=CONTENT, style_layers=STYLE)
    x = jnp.zeros((128, 64, 3))
    targets = objective.make_targets(narrow, x, x, content_layers=CONTENT, style_layers=STYLE)

    def largest(recompute):
        f = lambda x: objective.loss(x, narrow, targets, weights, recompute=recompute)[0]
        _, pull = jax.vjp(f, x)
        return max(leaf.size for leaf in jax.tree.leaves(pull))

    assert largest(()) >= 128 * 64 * 4
    assert largest((1, 2)) == x.size


def test_batches_in_tiles_equal_single_runs(narrow, random, monkeypatch):
    monkeypatch.setattr(seeing, "TILE_BYTES", 1)
    how = {"recompute": (1, 2), "breadth": 4}
    xs, content = (
        np.float32(random.normal(0, 60, (3, 64, 20, 3))),
        np.float32(random.normal(0, 60, (64, 20, 3))),
    )
    weights = objective.loss_weights(content_layers=CONTENT, style_layers=STYLE)
    targets = objective.make_targets(
        narrow, content, content[::-1], content_layers=CONTENT, style_layers=STYLE
    )
    slope = jax.jit(jax.grad(lambda x: objective.loss(x, narrow, targets, weights, **how)[0]))
    wanted = jnp.stack([slope(x) for x in xs])
    np.testing.assert_allclose(jax.vmap(slope)(xs), wanted, rtol=1e-3, atol=1e-4 * float(abs(wanted).max()))


@pytest.mark.parametrize("term", [Gram(), Moments()])
def test_statistics_in_tiles_are_those_of_the_whole(narrow, random, monkeypatch, term):
    monkeypatch.setattr(seeing, "TILE_BYTES", 1)  # the shortest tiles
    x = np.float32(random.normal(0, 60, (70, 16, 3)))
    look = partial(seeing.seen, narrow, x, term=term, term_layers=("conv1_2", "conv2_1", "conv3_1"))
    whole, tiles = jax.jit(look)().statistics, jax.jit(partial(look, recompute=(1, 2)))().statistics
    assert whole.keys() == tiles.keys()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(abs(a).max())),
        whole,
        tiles,
    )

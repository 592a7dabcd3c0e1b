import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import Moments

from nst_jax.errors import ConfigError
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.patches import Patches, patch_loss
from nst_jax.losses.terms import Guides
from nst_jax.networks import vgg
from nst_jax.transfer import objective

CONTENT, STYLE = ("conv4_2",), ("conv1_1", "conv2_1", "conv3_1")
SIZE = (24, 32, 3)


@pytest.fixture(scope="module")
def setting(narrow):
    x, content, style = np.float32(np.random.default_rng(0).normal(0, 60, (3, *SIZE)))
    targets = objective.make_targets(narrow, content, style, content_layers=CONTENT, style_layers=STYLE)
    features = [reference.vgg(narrow, image) for image in (x, content, style)]
    return narrow, x, targets, features


def pieces(features):
    """C, S_l, N_l M_l and N_l of the papers for every layer, from plain NumPy."""
    F, P, A = features
    C = {n: np.mean((F[n] - P[n]) ** 2) for n in CONTENT}
    M = {n: F[n].shape[0] * F[n].shape[1] for n in F}
    S = {n: np.mean(((reference.gram(F[n]) - reference.gram(A[n])) / M[n]) ** 2) for n in STYLE}
    N = {n: F[n].shape[2] for n in F}
    return C, S, N, M


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_are_those_of_the_conversion_table(setting, name):
    params, x, targets, features = setting
    weights = objective.loss_weights(
        convention=name,
        content=3.0,
        style=7.0,
        total_variation=0.0,
        content_layers=CONTENT,
        style_layers=STYLE,
    )
    value, terms = objective.loss(x, params, targets, weights)
    C, S, N, M = pieces(features)
    c = "conv4_2"
    content = {"gatys2016": 15 * C[c], "literal": N[c] * M[c] * C[c] / 2}.get(name, C[c])
    share = 1 / 3 if name in ("gatys2016", "literal") else 1.0
    plain = {"gatys2016": 0.25, "literal": 0.25, "champandard2016": 1.0}
    factor = {n: plain.get(name, 1 / N[n] ** 2) for n in STYLE}
    style = sum(share * factor[n] * S[n] for n in STYLE)
    np.testing.assert_allclose(value, 3 * content + 7 * style, rtol=1e-4)
    np.testing.assert_allclose(sum(terms.values()), value, rtol=1e-5)


def test_literal_is_equations_1_4_5_and_7_as_printed(setting):
    params, x, targets, (F, P, A) = setting
    weights = objective.loss_weights(
        convention="literal",
        content=2.0,
        style=5.0,
        content_layers=CONTENT,
        style_layers=dict.fromkeys(STYLE, 0.2),
    )
    value, _ = objective.loss(x, params, targets, weights)
    printed = 2 * reference.content_equation(F["conv4_2"], P["conv4_2"])
    printed += 5 * sum(0.2 * reference.style_equation(F[n], A[n]) for n in STYLE)
    np.testing.assert_allclose(value, printed, rtol=1e-4)


def test_johnsons_smoothness_is_half_the_sum_and_others_the_mean(setting):
    params, x, targets, _ = setting
    total = np.sum((x[1:] - x[:-1]) ** 2.0) + np.sum((x[:, 1:] - x[:, :-1]) ** 2.0)
    for name, wanted in (("johnson", 1e-3 * total / 2), ("gatys2016", 1e-3 * total / x.size)):
        weights = objective.loss_weights(
            convention=name,
            content=0.0,
            style=0.0,
            total_variation=1e-3,
            content_layers=CONTENT,
            style_layers=STYLE,
        )
        value, _ = objective.loss(x, params, targets, weights)
        np.testing.assert_allclose(value, wanted, rtol=1e-4)


def test_defaults_are_the_published_ones_but_for_grain():
    weights = objective.loss_weights()
    assert weights.content / weights.style == pytest.approx(0.6e-3)  # Fig. 3: 1e-3
    assert weights.total_variation / weights.style == pytest.approx(3e-5)
    assert objective.loss_weights(style=0.0).total_variation == 0
    assert objective.loss_weights(total_variation=0.0).total_variation == 0
    assert weights.style_layers == dict.fromkeys(["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"], 0.2)
    johnson = objective.loss_weights(convention="johnson")
    assert (johnson.content, johnson.style, johnson.total_variation) == (5.0, 100.0, 1e-3)
    assert set(johnson.style_layers.values()) == {1.0}


def test_images_of_other_sizes_can_be_the_style(narrow, random):
    content, style = np.float32(random.normal(size=(24, 24, 3))), np.float32(random.normal(size=(40, 17, 3)))
    targets = objective.make_targets(narrow, content, style, content_layers=CONTENT, style_layers=STYLE)
    value, _ = objective.loss(
        content,
        narrow,
        targets,
        objective.loss_weights(content_layers=CONTENT, style_layers=STYLE),
    )
    assert np.isfinite(value)


def test_gradient_of_the_image_agrees_with_finite_differences(narrow, random):
    x, content, style, direction = random.normal(0, 60, (4, *SIZE))
    layers = {"content_layers": ("conv3_1",), "style_layers": STYLE}
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(np.float64(a)), narrow)
        targets = objective.make_targets(params, content, style, **layers)
        weights = objective.loss_weights(total_variation=0.1, **layers)
        f = jax.jit(jax.value_and_grad(lambda x: objective.loss(x, params, targets, weights)[0]))
        step = 1e-6
        numeric = (f(x + step * direction)[0] - f(x - step * direction)[0]) / (2 * step)
        slope = jnp.vdot(f(x)[1], direction)
        np.testing.assert_allclose(slope, numeric, rtol=1e-5)


def test_weights_are_leaves_and_do_not_compile_again(setting):
    params, x, targets, _ = setting
    traces = []

    @jax.jit
    def f(weights):
        traces.append(1)
        return objective.loss(x, params, targets, weights)[0]

    layers = {"content_layers": CONTENT, "style_layers": STYLE}
    values = [f(objective.loss_weights(content=c, style=s, **layers)) for c, s in ((1.0, 2.0), (3.0, 4.0))]
    assert len(traces) == 1
    assert values[0] != values[1]
    leaves, tree = jax.tree.flatten(objective.loss_weights(**layers))
    assert len(leaves) == 3 + len(CONTENT) + len(STYLE)
    assert jax.tree.unflatten(tree, leaves) == objective.loss_weights(**layers)


def test_a_sweep_over_weights_equals_a_loop(setting):
    params, x, targets, _ = setting
    layers = {"content_layers": CONTENT, "style_layers": STYLE}
    each = [objective.loss_weights(style=s, **layers) for s in (0.0, 1.0, 1e3)]
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[jax.tree.map(jnp.float32, weights) for weights in each]
    )
    swept = jax.vmap(lambda w: objective.loss(x, params, targets, w)[0])(stacked)
    np.testing.assert_allclose(swept, [objective.loss(x, params, targets, w)[0] for w in each], rtol=1e-5)


def test_the_convention_is_part_of_the_weights(setting):
    """So it cannot be forgotten: the loss of Johnson's weights is Johnson's, with nothing more to say."""
    params, x, targets, features = setting
    weights = objective.loss_weights(convention="johnson", content_layers=CONTENT, style_layers=STYLE)
    value, _ = objective.loss(x, params, targets, weights)
    C, S, N, _ = pieces(features)
    variation = np.sum((x[1:] - x[:-1]) ** 2.0) + np.sum((x[:, 1:] - x[:, :-1]) ** 2.0)
    wanted = 5 * C["conv4_2"] + 1e2 * sum(S[n] / N[n] ** 2 for n in STYLE) + 1e-3 * variation / 2
    np.testing.assert_allclose(value, wanted, rtol=1e-4)
    plain = objective.loss_weights(convention="notebook", content_layers=CONTENT, style_layers=STYLE)
    assert jax.tree.structure(plain) != jax.tree.structure(weights)  # no program takes both
    with pytest.raises(ValueError, match=r"convention: should be one of gatys2016, .*, got 'gatys'"):
        objective.loss_weights(convention="gatys")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content_layers": ("conv3_1",)}, "content layers: targets are of conv4_2, weights of conv3_1"),
        ({"content_layers": ()}, "content layers: targets are of conv4_2, weights of none"),
        ({"style_layers": STYLE[:2]}, r"style layers: .* weights of conv1_1, conv2_1$"),
    ],
)
def test_targets_and_weights_of_different_layers_are_refused(setting, changes, message):
    params, x, targets, _ = setting
    weights = objective.loss_weights(**{"content_layers": CONTENT, "style_layers": STYLE} | changes)
    with pytest.raises(ValueError) as caught:
        objective.loss(x, params, targets, weights)
    assert re.search(message, str(caught.value))


def test_layers_may_be_given_in_any_order(setting):
    params, x, targets, _ = setting
    both = [
        objective.loss_weights(content_layers=CONTENT, style_layers=layers) for layers in (STYLE, STYLE[::-1])
    ]
    one, other = (objective.loss(x, params, targets, weights)[0] for weights in both)
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_unknown_layer():
    with pytest.raises(ConfigError, match="conv9_1"):
        objective.loss_weights(style_layers=["conv9_1"])


@pytest.mark.parametrize(
    ("term", "engine"),
    [(Gram(), "direct"), (Gram(), "winograd"), (Patches(), "direct"), (Patches(rematch=2), "direct")],
)
def test_the_loss_of_a_torus_is_the_same_wherever_it_begins(narrow, random, term, engine):
    """And its gradient moves with it, if the content does so too."""
    x, content, style = np.float32(random.normal(0, 60, (3, 32, 48, 3)))
    layers = {"content_layers": ("conv2_2",), "style_layers": ("conv1_1", "conv3_1")}
    weights = objective.loss_weights(convention="champandard2016", total_variation=0.1, **layers)
    how = {"padding": "wrap", "engine": engine}

    @jax.jit
    def run(x, content):
        targets = objective.make_targets(narrow, content, style, term=term, **how, **layers)
        targets = objective.renewed(x, narrow, targets, **how)
        evaluate = jax.value_and_grad(objective.loss, has_aux=True)
        (value, _), slope = evaluate(x, narrow, targets, weights, **how)
        return value, slope

    shift = lambda image: np.roll(image, (16, 20), (0, 1))
    value, slope = run(x, content)
    moved, moved_slope = run(shift(x), shift(content))
    np.testing.assert_allclose(moved, value, rtol=1e-5)
    assert np.linalg.norm(moved_slope - shift(slope)) < 1e-3 * np.linalg.norm(slope)
    assert abs(run(shift(x), content)[0] - value) > 1e-4 * value


def test_maps_of_a_torus_are_those_of_all_its_patches(narrow, random):
    style_map, content_map = random.random((2, 16, 24, 2))
    F = {"conv2_1": np.float32(random.normal(size=(8, 12, 4)))}
    guides = Guides((style_map,), content_map, 1.0)
    open_, closed = (
        objective.style_targets(Patches(), [F], guides, layers=F, wrap=wrap) for wrap in (False, True)
    )
    wanted = np.pad(open_["conv2_1"].map, ((0, 2), (0, 2), (0, 0)), mode="wrap")
    np.testing.assert_array_equal(closed["conv2_1"].map, wanted)
    np.testing.assert_array_equal(closed["conv2_1"].sources[0].map, open_["conv2_1"].sources[0].map)


def test_narrow_features_have_wide_sums(narrow, random):
    """bfloat16: targets and loss are float32, and the loss is that of float32 but for its few bits."""
    x, content, style = np.float32(random.normal(0, 60, (3, *SIZE)))
    layers = {"content_layers": CONTENT, "style_layers": STYLE}
    weights = objective.loss_weights(**layers)
    values = {}
    for dtype in (None, jnp.bfloat16):
        params = vgg.prepared(narrow, deepest="conv4_2", dtype=dtype)
        targets = objective.make_targets(params, content, style, dtype=dtype, **layers)
        assert {leaf.dtype for leaf in jax.tree.leaves(targets)} == {np.dtype("float32")}
        run = partial(objective.loss, dtype=dtype)
        (values[dtype], _), grad = jax.jit(jax.value_and_grad(run, has_aux=True))(x, params, targets, weights)
        assert grad.dtype == np.float32
    np.testing.assert_allclose(values[jnp.bfloat16], values[None], rtol=0.03)


def test_guided_terms_are_those_of_the_regions_alone(setting):
    params, x, _, (F, _, A) = setting
    guides = np.zeros((24, 32, 3), np.float32)
    guides[:8, :, 0] = guides[8:, :, 1] = 1  # and a region that is nowhere
    weights = objective.loss_weights(content=0.0, style=7.0, content_layers=(), style_layers=("conv1_1",))
    style = {"conv1_1": A["conv1_1"]}
    found = objective.style_targets(GuidedGram(), [style], Guides((guides,), guides, 1.0), layers=style)
    value, _ = objective.loss(x, params, objective.Targets({}, found, GuidedGram()), weights)
    rows = [slice(0, 8), slice(8, 24)]
    parts = [
        np.mean(np.square(reference.gram(F["conv1_1"][r]) - reference.gram(A["conv1_1"][r])))
        / (len(F["conv1_1"][r]) * 32) ** 2
        for r in rows
    ]
    np.testing.assert_allclose(value, 7 * 0.25 * np.mean(parts), rtol=1e-4)


def test_patch_terms_are_those_of_the_layers_features(setting, random):
    params, x, _, (F, _, A) = setting
    maps = np.float32(random.random((2, 24, 32, 2)))
    layers = ("conv2_1", "conv3_1")
    F_style = {name: A[name] for name in layers}
    style = objective.style_targets(Patches(), [F_style], Guides((maps[0],), maps[1], 20.0), layers=layers)
    weights = objective.loss_weights(
        convention="champandard2016",
        content_layers=(),
        style_layers=dict(zip(layers, (1.0, 0.5), strict=True)),
    )
    targets = objective.Targets({}, style, Patches())
    value, terms = jax.jit(objective.loss)(x, params, targets, weights)
    for name, weight in zip(layers, (50.0, 25.0), strict=True):
        small = maps[0]
        for _ in range(int(name[4]) - 1):
            small = small.reshape(len(small) // 2, 2, -1, 2, 2).mean((1, 3))
        balance = np.sqrt(np.sum(A[name] ** 2) / np.sum(small**2)) / 50
        np.testing.assert_allclose(style[name].sources[0].map, 20 * balance * small, rtol=1e-4)
        wanted = jax.jit(patch_loss)(np.float32(F[name]), style[name])
        np.testing.assert_allclose(terms[f"style/{name}"], weight * wanted, rtol=1e-3)
    np.testing.assert_allclose(value, sum(terms.values()), rtol=1e-5)


def test_a_term_of_ones_own_has_its_loss(setting):
    params, x, _, (F, _, A) = setting
    layers = {"content_layers": (), "style_layers": ("conv2_1",)}
    targets = objective.make_targets(params, x, x[::-1], term=Moments(), **layers)
    assert set(targets.style) == {"conv2_1"}
    targets = objective.Targets({}, {"conv2_1": Moments().statistics(jnp.float32(A["conv2_1"]))}, Moments())
    weights = objective.loss_weights(convention="notebook", style=7.0, **layers)
    value, terms = objective.loss(x, params, targets, weights)
    m, n = F["conv2_1"].mean((0, 1)), A["conv2_1"].mean((0, 1))
    s, t = F["conv2_1"].std((0, 1)), A["conv2_1"].std((0, 1))
    np.testing.assert_allclose(value, 7 * np.mean((m - n) ** 2 + (s - t) ** 2), rtol=1e-3)
    assert set(terms) == {"style/conv2_1", "total_variation"}
    default = objective.make_targets(params, x, x, content_layers=(), term=Moments())
    assert tuple(default.style) == Moments().layers


def test_a_larger_image_is_compared_with_the_content_at_its_own_size(narrow, random):
    """The content's part of the loss is that of the image shrunk, and so is its gradient, pulled back."""
    x, content, style = (
        np.float32(random.normal(0, 60, (*size, 3))) for size in ((48, 64), (24, 32), (24, 32))
    )
    weights = objective.loss_weights(content_layers=CONTENT, style_layers=STYLE)
    targets = objective.make_targets(narrow, content, style, content_layers=CONTENT, style_layers=STYLE)
    larger = replace(targets, content_size=(24, 32))
    _, terms = objective.loss(x, narrow, larger, weights)
    small = objective.shrunk(jnp.asarray(x), (24, 32))
    np.testing.assert_allclose(
        terms["content/conv4_2"],
        objective.loss(small, narrow, targets, weights)[1]["content/conv4_2"],
        rtol=1e-5,
    )
    whole = objective.loss(x, narrow, replace(targets, content={}), replace(weights, content_layers={}))[1]
    np.testing.assert_allclose(terms["style/conv2_1"], whole["style/conv2_1"], rtol=1e-5)
    again = jax.jit(partial(objective.loss, recompute=(1, 2)))(x, narrow, larger, weights)[1]
    np.testing.assert_allclose(again["content/conv4_2"], terms["content/conv4_2"], rtol=1e-4)


def test_shrinking_keeps_the_mean_of_a_plain_image():
    np.testing.assert_allclose(objective.shrunk(jnp.full((9, 14, 3), 7.0), (4, 5)), 7.0, rtol=1e-6)


def test_the_temporal_term_is_equation_7_of_ruder_et_al(setting, random):
    params, x, targets, _ = setting
    weights = objective.loss_weights(content_layers=CONTENT, style_layers=STYLE)
    size = x.shape[:2]
    images = np.float32(random.uniform(-100, 100, size=(2, *size, 3)))
    trust = np.float32(random.uniform(size=(2, *size, 1)) > 0.4)
    past = objective.Past(jnp.asarray(images), jnp.asarray(trust), jnp.float32(3.0))
    value, terms = objective.loss(x, params, replace(targets, past=past), weights)
    without, _ = objective.loss(x, params, targets, weights)
    total = 0.0
    for image, c in zip(images, trust, strict=True):
        for row, column in np.ndindex(*size):
            total += c[row, column, 0] * np.sum((x[row, column] - image[row, column]) ** 2)
    np.testing.assert_allclose(terms["temporal"], 3.0 * total / x.size, rtol=1e-5)
    np.testing.assert_allclose(value, without + terms["temporal"], rtol=1e-5)
    gradient = jax.grad(objective.temporal_distance)(x, past)
    by_hand = sum(2 * c * (x - image) for image, c in zip(images, trust, strict=True)) / x.size
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-4, atol=1e-7)

import jax.numpy as jnp
import numpy as np
import pytest
from makers import NARROW
from scipy import ndimage

from nst_jax import Encoder, stylize
from nst_jax.errors import ImageError, NstError
from nst_jax.losses import patches
from nst_jax.networks import vgg
from nst_jax.transfer import problem as tasks

PATCHES = {
    "style_kind": "patch",
    "style_layers": ("conv2_1",),
    "levels": 1,
    "convention": "champandard2016",
}


def quick(pair, encoder, **options):
    return stylize(*pair, encoder=encoder, **{"evaluations": 12, **options})


def test_the_loss_falls_and_the_result_is_an_image(pair, encoder):
    result = quick(pair, encoder, evaluations=40)
    assert result.status == "finished"
    assert result.evaluations == 40
    assert result.loss < 0.5 * result.initial_loss
    assert result.loss == pytest.approx(sum(result.terms.values()), rel=1e-4)
    assert result.image.shape == (24, 32, 3)
    assert result.image.dtype == np.float32
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    assert "40 evaluations" in result.sentence


@pytest.mark.parametrize("options", [{}, {"method": "adam"}, {"linesearch": "zoom"}, {"pool": "max"}])
def test_every_way_to_optimise_lowers_the_loss(pair, encoder, options):
    result = quick(pair, encoder, **options)
    assert result.loss < result.initial_loss


def test_the_same_call_gives_the_same_bits(pair, encoder):
    a, b = (quick(pair, encoder, init="noise", seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.image, b.image)


def test_chunks_and_stops_do_not_change_the_result(pair, encoder):
    seen = []
    a = quick(pair, encoder)
    b = quick(pair, encoder, stops=5, callback=lambda p: seen.append(p.evaluations))
    np.testing.assert_array_equal(a.image, b.image)
    assert {5, 10, 12} <= set(seen)


def test_callback_sees_progress_and_can_end_the_run(pair, encoder):
    seen = []

    def watch(progress):
        seen.append(progress)
        assert progress.picture().shape == (24, 32, 3)
        return progress.evaluations >= 3

    result = quick(pair, encoder, callback=watch, stops=1)
    assert result.status == "interrupted"
    assert result.evaluations == 3
    assert [p.evaluations for p in seen] == [1, 2, 3]
    assert seen[0].loss == pytest.approx(result.initial_loss)
    assert seen[0].budget == 12


def test_a_second_run_of_the_same_shapes_does_not_trace_again(pair, encoder, monkeypatch):
    quick(pair, encoder, content_weight=1.0)
    monkeypatch.setattr(tasks.objective, "loss", lambda *a, **k: pytest.fail("traced again"))
    quick(pair, encoder, content_weight=2.0)


def test_a_nan_in_the_network_ends_the_run_with_the_first_image(pair, narrow):
    broken = {
        **narrow,
        "conv1_1": {"kernel": narrow["conv1_1"]["kernel"] * jnp.nan, "bias": narrow["conv1_1"]["bias"]},
    }
    result = quick(pair, Encoder(broken, "broken", "", "", ""))
    assert result.status == "not finite"
    np.testing.assert_allclose(result.image, pair[0], atol=1e-5)


def test_too_small_an_image_names_size_and_layer(encoder):
    small = np.zeros((15, 40, 3), np.float32)
    with pytest.raises(ImageError, match=r"content image is 40 x 15 pixels.*conv5_1 needs at least 16"):
        stylize(small, np.zeros((40, 40, 3)), encoder=encoder)
    with pytest.raises(ImageError, match="style image is 10 x 10"):
        stylize(np.zeros((20, 20, 3)), np.zeros((40, 40, 3)), encoder=encoder, style_scale=0.5)
    shallow = {"content_layers": ["conv3_1"], "style_layers": ["conv1_1"], "evaluations": 1}
    assert stylize(small, small, encoder=encoder, **shallow).evaluations == 1


def test_all_weights_zero(pair, encoder):
    with pytest.raises(NstError, match="all weights are zero"):
        quick(pair, encoder, content_weight=0.0, style_weight=0.0)
    with pytest.raises(NstError, match="all weights are zero"):
        quick(pair, encoder, content_layers={"conv4_2": 0.0}, style_layers=())


def test_degenerate_pictures_stay_finite(encoder):
    black = np.zeros((20, 20, 3), np.float32)
    for content, style in ((black, black), (black + 1, black), (black + 0.5, black + 1)):
        result = stylize(content, style, encoder=encoder, evaluations=15)
        assert np.isfinite(result.image).all()
        assert np.isfinite(result.loss)


def test_the_narrow_network_has_all_of_vgg19s_names(narrow):
    assert vgg.blocks_of(narrow) == NARROW


# --- Patches --------------------------------------------------------------------------------------


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
    options = {"style_kind": "patch", "convention": "champandard2016", "levels": 2, "evaluations": 30}
    options |= {"style_map": style_map, "content_map": np.float32(np.stack([top, ~top], -1))}
    options |= {"encoder": real_weights, "style_layers": ("conv2_1", "conv3_1")}
    with_map, without = (stylize(None, style, semantic_weight=gamma, **options) for gamma in (50.0, 0.0))
    assert min(obeying(with_map.image, top)) > 0.95
    assert min(obeying(without.image, top)) < 0.7


def test_the_loss_falls_while_matches_change(pair, encoder):
    """The objective jumps where a match changes; full L-BFGS steps get over it, and none are in vain."""
    content, style = pair
    seen = []
    options = {"style_kind": "patch", "style_layers": ("conv2_1", "conv3_1"), "levels": 1}
    options |= {"convention": "champandard2016", "content_layers": (), "content_weight": 0.0}
    result = stylize(
        content,
        style,
        encoder=encoder,
        init="noise",
        evaluations=60,
        stops=1,
        callback=seen.append,
        **options,
    )
    assert result.status == "finished"
    assert [p.loss for p in seen] == sorted((p.loss for p in seen), reverse=True)  # of the best so far
    assert len({p.loss for p in seen}) > 30  # most steps found a better picture
    assert result.loss < 0.2 * result.initial_loss
    first, last = (
        patches.nearest(
            vgg.features(encoder.params, vgg.to_input(image), layers=("conv2_1",))["conv2_1"],
            patches.PatchStyle((patches.Source(F, jnp.zeros((*F.shape[:2], 0))),), jnp.zeros((12, 16, 0))),
            0.0,
        )[0]
        for F in [vgg.features(encoder.params, vgg.to_input(style), layers=("conv2_1",))["conv2_1"]]
        for image in (np.full((24, 32, 3), 0.45, np.float32), result.image)
    )
    assert np.mean(first != last) > 0.5


def test_matches_may_be_held_for_some_evaluations(pair, encoder):
    every, held, never = (
        quick(pair, encoder, patch_rematch=n, evaluations=24, **PATCHES) for n in (1, 6, 1000)
    )
    losses = []
    for result in (every, held, never):
        layers = ("conv2_1",)
        F, S = (
            vgg.features(encoder.params, vgg.to_input(image), layers=layers)["conv2_1"]
            for image in (result.image, tasks.fitted(*pair)[1])
        )
        none = lambda F: jnp.zeros((*F.shape[:2], 0))
        losses.append(
            float(patches.patch_loss(F, patches.PatchStyle((patches.Source(S, none(S)),), none(F)), 0.0))
        )
    assert not np.array_equal(every.image, held.image)
    assert losses[1] < losses[2]  # those of the first image are not the last's
    assert losses[1] < 1.5 * losses[0]


def test_copies_of_the_style_give_more_to_choose_from(pair, encoder):
    plain = quick(pair, encoder, **PATCHES)
    turned = quick(pair, encoder, patch_copies=[(-7.5, 1.0), (7.5, 0.9)], **PATCHES)
    assert not np.array_equal(plain.image, turned.image)
    assert turned.terms["style/conv2_1"] < 1.05 * plain.terms["style/conv2_1"]


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"content_map": np.ones((24, 32, 1)), "style_map": np.ones((40, 28, 1))}, "patch or guided_gram"),
        ({"style_kind": "patch", "content_map": np.ones((24, 32, 1))}, "a content map but no style map"),
        ({"style_kind": "guided_gram"}, "guided_gram needs maps"),
        (
            {"style_kind": "patch", "content_map": np.ones((24, 32, 1)), "style_map": np.ones((40, 28, 3))},
            "the content map has 1 channel, the style map has 3",
        ),
        ({"style_kind": "patch", "patch_size": 9, "levels": 1}, "less than a patch of 9 x 9"),
    ],
)
def test_maps_and_patches_that_cannot_be(pair, encoder, options, phrase):
    with pytest.raises(NstError, match=phrase):
        quick(pair, encoder, **options)


def test_neither_content_nor_style(pair, encoder):
    with pytest.raises(NstError, match="neither a content image nor a style image"):
        quick((None, None), encoder)


def test_guided_gram_matrices_lower_the_loss_of_each_region(pair, encoder):
    maps = {"content_map": np.ones((24, 32, 2), np.float32), "style_map": np.ones((40, 28, 2), np.float32)}
    maps["content_map"][:12, :, 0] = maps["style_map"][:, 14:, 1] = 0
    result = quick(pair, encoder, style_kind="guided_gram", init="noise", **maps)
    assert result.loss < 0.5 * result.initial_loss

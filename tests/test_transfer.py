import jax.numpy as jnp
import numpy as np
import pytest
from conftest import NARROW

from nst_jax import Encoder, stylize, tasks, vgg
from nst_jax.errors import ImageError, NstError


@pytest.fixture(scope="module")
def encoder(narrow):
    return Encoder(narrow, "narrow", "", "", "")


@pytest.fixture
def pair(random):
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)) ** 3)


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

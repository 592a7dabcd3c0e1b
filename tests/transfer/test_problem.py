import numpy as np
import pytest

from nst_jax.errors import ImageError, NstError
from nst_jax.networks import vgg
from nst_jax.transfer import problem as tasks


@pytest.fixture
def pair(random):
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)) ** 3)


def test_initial_images(pair):
    content, style = pair
    fitted = style[:24, :1] * np.ones((1, 32, 1), np.float32)
    first = lambda init, **options: np.asarray(tasks.first_image(init, content, fitted, **options))
    np.testing.assert_allclose(first("content"), vgg.to_input(content), atol=1e-4)
    np.testing.assert_allclose(first("style"), vgg.to_input(fitted), atol=1e-4)
    noise = first("noise", seed=1)
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(tasks.NOISE, rel=0.1)
    assert (noise != first("noise", seed=2)).any()
    np.testing.assert_array_equal(noise, first("noise", seed=1))
    blend = first({"content": 0.7, "noise": 0.3}, seed=1)
    np.testing.assert_allclose(blend, 0.7 * first("content") + 0.3 * noise, atol=1e-4)
    given = np.full((6, 8, 3), 255, np.uint8)
    np.testing.assert_allclose(first(given), vgg.to_input(np.ones((24, 32, 3), np.float32)), atol=1e-3)
    with pytest.raises(NstError, match="content, style, noise"):
        first("nois")


@pytest.mark.parametrize(
    ("fit", "scale", "wanted"),
    [
        ("content", 1.0, (100, 200)),
        ("content", 0.5, (50, 100)),
        ("aspect", 1.0, (141, 141)),
        ("aspect", 2.0, (283, 283)),
    ],
)
def test_style_sizes(fit, scale, wanted):
    assert tasks.style_size((300, 300), (100, 200), scale, fit) == wanted


def test_images_given_as_bytes_or_floats(random):
    pixels = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_allclose(tasks.as_image(pixels, "content"), pixels / 255, rtol=1e-6)
    for wrong in (np.zeros((4, 5)), np.zeros((4, 5, 4)), np.zeros((0, 5, 3))):
        with pytest.raises(ImageError, match="content image has shape"):
            tasks.as_image(wrong, "content")
    for wrong in (np.full((4, 5, 3), 128.0), np.full((4, 5, 3), np.nan)):
        with pytest.raises(ImageError, match=r"\[0, 1\]"):
            tasks.as_image(wrong, "style")


def test_history_is_bounded_by_memory():
    assert tasks.history_for(384 * 512 * 12) == 100
    assert 20 < tasks.history_for(1000 * 1000 * 12) <= tasks.HISTORY_BYTES / (2 * 1000 * 1000 * 12)
    assert tasks.history_for(10**12) == 20


def test_only_large_images_on_a_cpu_are_computed_in_part_twice(monkeypatch):
    assert tasks.recompute_for("auto", 512 * 512) == 0
    assert tasks.recompute_for("auto", 1024 * 768) == 1
    assert tasks.recompute_for("fast", 4096 * 4096) == 0
    assert tasks.recompute_for("low", 64 * 64) == 2
    monkeypatch.setattr(tasks.jax, "default_backend", lambda: "gpu")
    assert tasks.recompute_for("auto", 4096 * 4096) == 0

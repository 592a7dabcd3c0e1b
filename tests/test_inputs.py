import hashlib
import inspect
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from nst_jax import config, inputs, tasks, transfer
from nst_jax.errors import ConfigError, ImageError


@pytest.fixture
def folder(tmp_path, monkeypatch, random):
    """A photograph with alpha, a painting and a first image, written by Pillow."""
    monkeypatch.chdir(tmp_path)
    for name, shape in (("photo.png", (30, 40, 4)), ("art.png", (25, 20, 3)), ("first.png", (9, 7, 3))):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(name)
    return tmp_path


def settings(**changes):
    return config.load(base={"content": "photo.png", "style": "art.png", "size": 20} | changes)


def pixels(name):
    return np.float32(np.asarray(Image.open(name)) / 255)


def resized(channel, size):
    image = Image.fromarray(channel).resize(size, Image.Resampling.LANCZOS)
    return np.clip(np.asarray(image), 0, 1)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes()).hexdigest()


def test_content_has_the_size_of_the_result_and_style_its_own(folder):
    found, photo = inputs.read_inputs(settings()), pixels("photo.png")
    wanted = np.stack([resized(photo[..., c], (20, 15)) for c in range(4)], axis=-1)
    np.testing.assert_allclose(found.content.rgb, wanted[..., :3], atol=1e-6)
    np.testing.assert_allclose(found.content.alpha, wanted[..., 3], atol=1e-6)
    np.testing.assert_allclose(found.style.rgb, pixels("art.png"), atol=1e-6)
    assert found.style.alpha is None
    assert found.init == "content"


def test_a_small_content_stays_as_it_is(folder):
    found = inputs.read_inputs(settings(size=500))
    np.testing.assert_allclose(found.content.rgb, pixels("photo.png")[..., :3], atol=1e-6)
    np.testing.assert_allclose(found.content.alpha, pixels("photo.png")[..., 3], atol=1e-6)


def test_digests_are_of_the_pixels_as_read(folder):
    whole, small = (inputs.read_inputs(settings(size=size, init="first.png")) for size in (500, 20))
    assert whole.digests == small.digests
    assert whole.digests == {
        "content": sha256(whole.content.rgb),
        "style": sha256(whole.style.rgb),
        "init": sha256(whole.init),
    }
    Image.fromarray(np.asarray(Image.open("art.png"))).save("same.tif")
    assert inputs.read_inputs(settings(style="same.tif")).digests["style"] == whole.digests["style"]


def test_samples_by_name(folder):
    found = inputs.read_inputs(settings(content="sample:coffee"))
    assert found.content.rgb.shape == (13, 20, 3)
    assert found.digests["content"] == sha256(np.float32(skimage.data.coffee()) / np.float32(255))


def test_a_first_image_is_read_from_its_file(folder):
    found = inputs.read_inputs(settings(init="first.png"))
    np.testing.assert_allclose(found.init, pixels("first.png"), atol=1e-6)
    blend = {"content": 0.5, "noise": 0.5}
    assert inputs.read_inputs(settings(init=blend)).init == blend
    assert set(inputs.read_inputs(settings(init="noise")).digests) == {"content", "style"}


@pytest.mark.parametrize("name", ["content", "style"])
def test_no_picture_given(folder, name):
    with pytest.raises(ConfigError, match=rf"^{name}\.image: no {name} image given: use --{name} FILE"):
        inputs.read_inputs(settings(**{name: {}}))


@pytest.mark.parametrize("name", ["content", "style", "init"])
def test_a_picture_that_is_not_there(folder, name):
    with pytest.raises(ImageError, match=r"gone\.png"):
        inputs.read_inputs(settings(**{name: "gone.png"}))


@pytest.mark.parametrize(("limit", "wrong"), [(62, "first"), (499, "art"), (1199, "photo")])
def test_pictures_of_too_many_pixels(folder, limit, wrong):
    names = {"content": "first.png", "style": "first.png", "init": "first.png"}
    place = {"first": "init", "art": "style", "photo": "content"}[wrong]
    with pytest.raises(ImageError, match=rf"{wrong}\.png.*max_pixels"):
        inputs.read_inputs(settings(**names | {place: f"{wrong}.png", "max_pixels": limit}))
    if limit > 63:
        inputs.read_inputs(settings(**names | {place: f"{wrong}.png", "max_pixels": limit + 1}))


def test_names_are_those_of_the_pictures(folder):
    assert inputs.names_of(settings(init="b.png")) == {
        "content": "photo.png",
        "style": "art.png",
        "init": "b.png",
    }
    assert "init" not in inputs.names_of(settings(init={"content": 1, "noise": 1}))


def test_options_are_those_of_a_run():
    prepare, stylize = (inspect.signature(f).parameters for f in (tasks.prepare, transfer.stylize))
    options = inputs.options(config.Config())
    assert set(options) == {n for n, p in prepare.items() if p.kind is p.KEYWORD_ONLY} - {"params", "init"}
    assert options == {name: stylize[name].default for name in options}


def test_options_are_the_settings():
    found = config.load(
        base={
            "seed": 9,
            "content": {"weight": 2, "layers": ["conv2_2"]},
            "style": {"weight": 3, "layers": {"conv1_2": 0.5}},
            "loss": {"convention": "johnson", "total_variation": 4},
            "network": {"pool": "max", "padding": "replicate", "engine": "direct"},
            "precision": "bf16",
            "memory": "low",
            "memory_limit": "2GiB",
            "solver": {
                "kind": "adam",
                "evaluations": 7,
                "linesearch": "zoom",
                "history": 6,
                "learning_rate": 5,
            },
        }
    )
    assert inputs.options(found) == {
        "seed": 9,
        "evaluations": 7,
        "convention": "johnson",
        "engine": "direct",
        "precision": "bf16",
        "memory": "low",
        "memory_limit": 2**31,
        "content_weight": 2,
        "style_weight": 3,
        "total_variation": 4,
        "content_layers": ("conv2_2",),
        "style_layers": {"conv1_2": 0.5},
        "pool": "max",
        "padding": "replicate",
        "method": "adam",
        "linesearch": "zoom",
        "history": 6,
        "learning_rate": 5,
    }


@pytest.mark.parametrize(
    ("convention", "given", "wanted"),
    [
        ("gatys2016", None, True),
        ("gatys2016", False, False),
        ("johnson", None, False),
        ("johnson", True, True),
    ],
)
def test_the_network_is_the_conventions_unless_told_otherwise(monkeypatch, convention, given, wanted):
    monkeypatch.setattr(
        "nst_jax.encoder.load_encoder", lambda name, **options: SimpleNamespace(name=name, **options)
    )
    network = {"pool": "max", "padding": "replicate", "normalised": given}
    chosen = config.load(base={"weights": "my.h5", "loss": {"convention": convention}, "network": network})
    found = inputs.encoder(chosen, print)
    assert vars(found) == {
        "name": "my.h5",
        "normalised": wanted,
        "pool": "max",
        "padding": "replicate",
        "progress": print,
    }


def test_mistakes_need_not_wait_for_jax():
    code = "import sys, nst_jax.inputs; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

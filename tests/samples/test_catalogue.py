import subprocess
import sys

import numpy as np
import pytest
import skimage.data

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.samples import catalogue as samples
from nst_jax.samples import paintings, portraits, riverside


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def quick_painting():
    random = np.random.default_rng(0)
    return random.random((paintings.HEIGHT, paintings.WIDTH, 3), dtype=np.float32)


def not_again():
    raise AssertionError("painted a second time")


@pytest.mark.parametrize("name", [n for n, s in samples.CREDITS.items() if s.kind == "content"])
def test_photographs_are_those_of_scikit_image(name):
    rgb = samples.load(name)
    assert rgb.dtype == np.float32
    np.testing.assert_array_equal(np.round(rgb * 255), getattr(skimage.data, name)())


def test_every_painting_is_listed():
    listed = [n for n, s in samples.CREDITS.items() if s.kind == "style"]
    assert listed == [*paintings.PAINTINGS, "riverside"]
    assert {"coffee", "chelsea", "astronaut", "rocket", "starry_swirls"} <= set(samples.names())


def test_painting_is_kept_and_reads_the_same(cache, monkeypatch):
    fresh = samples.load("stained_glass")
    assert [file.name for file in (cache / "samples").iterdir()] == [f"stained_glass-{samples._EDITION}.png"]
    monkeypatch.setitem(paintings.PAINTINGS, "stained_glass", not_again)
    assert samples.load("stained_glass").tobytes() == fresh.tobytes()
    assert np.abs(fresh - paintings.stained_glass()).max() < 0.51 / 255


def test_riverside_is_kept_too(cache, monkeypatch):
    fresh = samples.load("riverside")
    assert [file.name for file in (cache / "samples").iterdir()] == [f"riverside-{samples._EDITION}.png"]
    monkeypatch.setattr(riverside, "riverside", not_again)
    assert samples.load("riverside").tobytes() == fresh.tobytes()


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("riverside_sem", riverside.riverside_map),
        ("river_doodle_sem", riverside.river_doodle),
        ("astronaut_sem", portraits.astronaut_map),
        ("chelsea_sem", portraits.chelsea_map),
    ],
)
def test_maps_are_drawn_anew_in_exact_colours(name, draw, cache):
    assert samples.CREDITS[name].kind == "map"
    rgb = samples.load(name)
    assert rgb.dtype == np.float32
    assert rgb.tobytes() == draw().tobytes()
    np.testing.assert_array_equal(rgb, np.round(rgb * 255).astype(np.float32) / np.float32(255))
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"damaged", images.encode("a.png", np.zeros((2, 2, 3)))])
def test_damaged_copy_is_painted_again(cache, monkeypatch, content):
    monkeypatch.setitem(paintings.PAINTINGS, "burning_sky", quick_painting)
    path = cache / "samples" / f"burning_sky-{samples._EDITION}.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    fresh = samples.load("burning_sky")
    np.testing.assert_array_equal(images.read(path).rgb, fresh)


def test_cache_that_cannot_be_written_is_no_error(cache, monkeypatch):
    monkeypatch.setitem(paintings.PAINTINGS, "burning_sky", quick_painting)
    cache.write_text("a file where the folder should be")
    assert samples.load("burning_sky").shape == (paintings.HEIGHT, paintings.WIDTH, 3)


def test_unknown_name():
    with pytest.raises(ImageError, match=r"'cofee'.*did you mean 'coffee'.*starry_swirls"):
        samples.load("cofee")


def test_description_has_a_line_for_each():
    lines = samples.describe().splitlines()
    assert len(lines) == len(samples.names())
    for line, (name, sample) in zip(lines, samples.CREDITS.items(), strict=True):
        assert line.startswith(name)
        assert sample.licence in line
        assert len(line) < 120


def test_import_is_light():
    code = "import sys, nst_jax.samples; print({'jax', 'skimage', 'scipy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

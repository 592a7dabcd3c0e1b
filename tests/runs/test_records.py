import functools
import json
import math
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from makers import paint

from nst_jax import config, images
from nst_jax.errors import ConfigError
from nst_jax.native import library
from nst_jax.runs import records, single
from nst_jax.settings import Settings

ENCODER = {"name": "vgg19", "source": "my.h5", "digest": "e1"}
PHOTO, ART = {"content": "photo.png"}, {"style": "art.png"}


def made(folder, name="out.png", *, encoder="vgg19", **changes):
    """Put a picture with its record into a folder; return where it is."""
    settings = config.load(base={**PHOTO, **ART, **changes})
    record = records.record(settings, ENCODER | {"name": encoder}, {"content": "c1", "style": "s1"})
    text = json.dumps(records.plain(record))
    images.write(folder / name, np.zeros((2, 2, 3)), text={"nst_jax": text})
    if not name.lower().endswith(".png"):
        (folder / name).with_suffix(".json").write_text(text)
    return folder / name


def damaged(folder, record):
    images.write(folder / "out.png", np.zeros((2, 2, 3)), text={"nst_jax": record})
    return folder / "out.png"


@pytest.mark.parametrize("name", ["out.png", "OUT.PNG", "out.jpg", "out.tif"])
def test_settings_come_back_from_the_picture_or_the_file_beside_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    changes = {
        "seed": 7,
        "init": {"content": 1, "noise": 3},
        "style": {"image": "art.png", "layers": {"conv1_1": 2}},
    }
    settings, record = records.replayed(made(tmp_path, name, **changes))
    assert config.load(base=settings) == config.load(base=PHOTO | changes)
    assert (tmp_path / "out.json").exists() == (name in ("out.jpg", "out.tif"))
    assert record["encoder"] == ENCODER
    assert record["inputs"] == {"content": "c1", "style": "s1"}


def test_several_styles_come_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    style = {"image": ["one.png", "sample:burning_sky"], "shares": [2, 1]}
    beside = tmp_path / "beside"
    beside.mkdir()
    images.write(beside / "one.png", np.zeros((2, 2, 3)))
    settings, _ = records.replayed(made(beside, style=style))
    found = config.load(base=settings)
    assert found.style.image == (str(beside / "one.png"), "sample:burning_sky")
    assert (found.style.shares, found.pyramid.levels, found.loss.total_variation) == ((2, 1), None, None)


def test_masks_are_looked_for_beside_the_picture_too(tmp_path):
    for name in ("keep.png", "weights.png"):
        (tmp_path / name).touch()
    given = {"content": {"image": "photo.png", "keep": "keep.png"}}
    given |= {"style": {"image": "art.png", "strength_map": "weights.png"}}
    found, _ = records.replayed(made(tmp_path, **given))
    assert found["content"]["keep"] == str(tmp_path / "keep.png")
    assert found["style"]["strength_map"] == str(tmp_path / "weights.png")
    assert found["style"]["regions"] is None


def test_a_record_names_versions_and_device():
    record = records.record(Settings(), ENCODER, {})
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"]["jax"] == jax.__version__
    assert record["versions"]["pillow"] == version("pillow")
    assert record["device"] == jax.devices()[0].device_kind
    assert json.loads(records.to_json(record)) == json.loads(json.dumps(record))


@pytest.mark.parametrize(
    ("there", "halves", "said"),
    [(False, False, "XLA's"), (True, False, "native"), (True, True, "native, by matrix units")],
)
def test_a_record_names_what_convolutions_are_computed_by(monkeypatch, there, halves, said):
    monkeypatch.setattr(library, "_found", [there])
    monkeypatch.setattr(library, "_halves", [halves])
    assert records.versions()["convolutions"] == said


def test_replay_from_another_folder_finds_the_images_beside_the_picture(world, monkeypatch):
    paint()
    (world / "elsewhere").mkdir()
    monkeypatch.chdir(world / "elsewhere")
    base, _ = records.replayed(world / "out.png")
    assert base["content"]["image"] == str(world / "photo.png")


def test_images_are_looked_for_here_then_beside_the_picture(tmp_path, monkeypatch):
    beside, here = tmp_path / "beside", tmp_path / "here"
    for name in (beside / "photo.png", beside / "first.png", beside / "noise", here / "photo.png"):
        name.parent.mkdir(exist_ok=True)
        name.touch()
    monkeypatch.chdir(here)
    found, _ = records.replayed(made(beside, init="first.png"))
    assert found["content"]["image"] == "photo.png"
    assert found["style"]["image"] == "art.png"  # nowhere: the message should name what was given
    assert found["init"] == str(beside / "first.png")
    found, _ = records.replayed(made(beside, content="sample:coffee", init="noise"))
    assert (found["content"]["image"], found["init"]) == ("sample:coffee", "noise")


def test_a_run_without_vgg_is_repeated_without_it(tmp_path):
    assert records.replayed(made(tmp_path, encoder="compact"))[0]["weights"] == "compact"
    assert records.replayed(made(tmp_path, encoder="dictionary"))[0]["weights"] == "dictionary"
    assert records.replayed(made(tmp_path, weights="my.h5"))[0]["weights"] == "my.h5"


OLD = {
    "plain": {
        "init": {"content": 0.25, "noise": 0.75},
        "seed": 7,
        "style.weight": 1000.0,
        "style.layers": ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        "size": 24,
        "pyramid.levels": 1,
        "pyramid.variables": "pixels",
        "loss.total_variation": 0.0,
    },
    "doodle": {
        "loss.total_variation": None,
        "style.kind": "patch",
        "style.layers": ("conv2_1",),
        "loss.convention": "champandard2016",
        "patch.rotations": (-7.5, 7.5),
    },
    "texture": {
        "size": (30, 20),
        "style.crop": (0.0, 0.0, 1.0, 0.8),
        "content.weight": 0.0,
        "init": "noise",
        "sweep.axes": (),
    },
}
"""What records hold that version 0.1 wrote: a run, one on patches, and the first cell of a sweep."""


def old(name, folder):
    shutil.copy(Path(__file__).with_name("data") / f"{name}.json", folder / f"{name}.json")
    images.write(folder / f"{name}.jpg", np.zeros((2, 2, 3)))
    return records.replayed(folder / f"{name}.jpg")


@pytest.mark.parametrize("name", OLD)
def test_records_of_version_0_1_are_still_settings(tmp_path, name):
    base, record = old(name, tmp_path)
    assert record["versions"]["nst_jax"] == "0.1.0"
    settings = config.load(base=base)
    for key, wanted in OLD[name].items():
        assert functools.reduce(getattr, key.split("."), settings) == wanted, key


def test_a_record_of_version_0_1_can_be_repeated(world):
    base, record = old("plain", world)
    base["output"]["image"] = "again.jpg"
    said = []
    single.run(config.load(base=base), say=said.append, earlier=record)
    assert images.read("again.jpg").rgb.shape == (18, 24, 3)
    assert not any("pixels" in line for line in said)


@pytest.mark.parametrize(
    ("convention", "weight", "wanted"),
    [("gatys2016", None, 0.02), ("literal", 10.0, 2e-4), ("johnson", 10.0, None)],
)
def test_records_from_before_bands_are_of_pixels(tmp_path, convention, weight, wanted):
    changes = {"style": {"weight": weight}, "loss": {"convention": convention}}
    path = made(tmp_path, "out.jpg", **changes)
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["config"]["pyramid"].pop("variables", "missing") is None
    assert record["config"]["style"].pop("strength", "missing") is None
    (tmp_path / "out.json").write_text(json.dumps(record))
    settings = config.load(base=records.replayed(path)[0])
    assert (settings.pyramid.variables, settings.pyramid.levels) == ("pixels", None)
    assert settings.loss.total_variation == (None if wanted is None else pytest.approx(wanted))
    assert settings.style.layers == ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    assert settings.content.weight == (1.5 if convention == "gatys2016" else None)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_replay_of_any_other_picture(tmp_path, name):
    images.write(tmp_path / name, np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ConfigError, match="no record of a run"):
        records.replayed(tmp_path / name)


@pytest.mark.parametrize(
    "record", ["", "mine", "3", "[1]", "{}", '{"config": {}}', '{"config": {}, "encoder": 3}']
)
def test_text_of_others_is_no_record(tmp_path, record):
    with pytest.raises(ConfigError, match="no record of a run in it"):
        records.replayed(damaged(tmp_path, record))


@pytest.mark.parametrize("settings", ["{}", "null", '{"content": {}, "style": {}, "init": "noise"}'])
def test_a_record_without_settings_is_no_record(tmp_path, settings):
    with pytest.raises(ConfigError, match="no record of a run in it"):
        records.replayed(damaged(tmp_path, f'{{"config": {settings}, "encoder": {{"name": "vgg19"}}}}'))


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[", b"{}"])
def test_files_of_others_beside_a_picture_are_no_record(tmp_path, text):
    images.write(tmp_path / "out.jpg", np.zeros((2, 2, 3)))
    (tmp_path / "out.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"no record of a run in out\.json beside it"):
        records.replayed(tmp_path / "out.jpg")


NOW = {
    "versions": {"jax": "2", "numpy": "5"},
    "inputs": {"content": "c1", "style": "s1"},
    "encoder": {"source": "my.h5", "digest": "e1"},
}


@pytest.mark.parametrize(
    ("then", "wanted"),
    [
        (NOW, []),
        ({}, []),
        ({"versions": {"jax": "1", "numpy": "5"}}, ["jax is 2, was 1"]),
        ({"versions": {"scipy": "1"}}, ["scipy is None, was 1"]),
        ({"inputs": {"content": "c2", "style": "s1"}}, ["the content image has other pixels"]),
        ({"inputs": {"content": "c1", "init": "i1"}}, []),
        ({"encoder": {"source": "old.h5", "digest": "e2"}}, ["the network's weights are my.h5, were old.h5"]),
        ({"encoder": {"source": "moved.h5", "digest": "e1"}}, []),
        (
            {
                "versions": {"jax": "1", "numpy": "4"},
                "inputs": {"content": "c2", "style": "s2"},
                "encoder": {"source": "old.h5", "digest": "e2"},
            },
            [
                *("jax is 2, was 1", "numpy is 5, was 4"),
                *("the content image has other pixels", "the style image has other pixels"),
                "the network's weights are my.h5, were old.h5",
            ],
        ),
    ],
)
def test_differences(then, wanted):
    assert records.differences(NOW, then) == wanted


def test_numbers_that_are_not_finite_are_null_at_any_depth():
    nan, inf = float("nan"), float("inf")
    odd = {"a": nan, "b": [1.5, -inf, (inf, {"c": np.float64(nan)})], "d": (True, None, "nan")}
    assert records.plain(odd) == {"a": None, "b": [1.5, None, [None, {"c": None}]], "d": [True, None, "nan"]}
    assert math.isnan(odd["a"])  # what was given is as it was


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), ANY, max_size=4))
@examples(max_examples=50)
def test_any_record_is_json_and_keeps_its_finite_values(record):
    def wrong(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = records.to_json(record).decode()
    nulls = json.loads(json.dumps(record), parse_constant=lambda constant: None)
    assert json.loads(text, parse_constant=wrong) == nulls == records.plain(record)
    assert text.endswith("\n")


def test_terms_are_summed_over_layers():
    terms = {"content/conv4_2": 1.0, "style/conv1_1": 2.0, "style/conv2_1": 0.5}
    assert records.by_kind(terms) == {"content": 1.0, "style": 2.5, "total_variation": 0.0}

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import errors, load_text

from nst_jax import config
from nst_jax.errors import ConfigError
from nst_jax.settings import LONGEST, Settings, as_dict

ROOT = Path(__file__).parents[2]


def test_no_config_is_the_defaults(tmp_path):
    assert config.load() == Settings() == load_text(tmp_path, "") == load_text(tmp_path, "# nothing\n")


def test_short_and_long_forms_of_a_picture(tmp_path):
    short = load_text(tmp_path, "content: a.jpg\nstyle: b.jpg\noutput: c.png\n")
    long = load_text(tmp_path, "content:\n  image: a.jpg\nstyle: {image: b.jpg}\noutput:\n  image: c.png\n")
    assert short == long


def test_several_pictures_are_sent_to_the_sweep(tmp_path):
    assert errors(tmp_path, "content: [a.jpg, b.jpg]\n") == [
        "my.yaml:1:1: content: is one picture; for several see nst-jax sweep --help"
    ]


@pytest.mark.parametrize("text", ["1e3", "1000", "1.e3", "1E+3", "+1000.0", "1_000"])
def test_numbers(tmp_path, text):
    assert load_text(tmp_path, f"style: {{weight: {text}}}").style.weight == 1000


def test_words_are_not_truth_values_or_times():
    value, _, problems = config.parse("{a: no, b: 12:30, c: yes, d: true, e: ~}", name="x")
    assert not problems
    assert value == {"a": "no", "b": "12:30", "c": "yes", "d": True, "e": None}


def test_all_mistakes_at_once_each_with_its_place(tmp_path):
    found = errors(
        tmp_path,
        "content: a.jpg\n"
        "style:\n"
        "  imaeg: b.jpg\n"
        "  weight: -1\n"
        "size: large\n"
        "solver: {kind: lbgs}\n"
        "content: c.jpg\n"
        "hue: red\n",
        assignments=["style.scale=0", "nonsense", "stile.weight=1"],
    )
    assert sorted(line.split(": ")[0] for line in found) == sorted(
        [
            *(f"my.yaml:{place}" for place in ("3:3", "4:3", "5:1", "6:10", "7:1", "8:1")),
            "--set style.scale=0",
            "--set nonsense",
            "--set stile.weight=1",
        ]
    )
    text = "\n".join(found)
    assert "style.imaeg: unknown key (did you mean 'image'?)" in text
    assert "style.weight: should be 0, or from 1e-15 to 1e+15, got -1" in text
    assert "size: should be a number of pixels, or for a texture WIDTHxHEIGHT" in text
    assert "solver.kind: should be 'lbfgs', 'adam' or 'lbfgsb', got 'lbgs'" in text
    assert "content: stands here a second time, first at" in text
    assert "hue: unknown key" in text


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("style: {layers: [conv4_9]}", "unknown layer 'conv4_9' (did you mean"),
        ("style: {layers: conv4_1}", "should be a list of layers"),
        ("style: {layers: [conv4_1, relu4_1]}", "names a layer twice"),
        ("style: {layers: {conv4_1: -1}}", "should be 0, or from 1e-15 to 1e+15, got -1"),
        ("style: {layers: {conv4_1: .nan}}", "should be 0, or from 1e-15 to 1e+15, got nan"),
        ("style: {weight: .inf}", "should be 0, or from 1e-15 to 1e+15, got inf"),
        ("style: {weight: true}", "should be 0, or from 1e-15 to 1e+15, got True"),
        ("init: {content: 1, noise: x}", "the share of 'noise'"),
        ("init: {content: 0}", "more than 0"),
        ("init: {content: 1, photo: 1}", "a blend is of content, style, noise, got 'photo'"),
        ("init: 3", "should be content, style, noise"),
        ("seed: -1", "whole number of at least 0 and of at most 4294967295, got -1"),
        ("solver: {evaluations: 0}", "whole number of at least 1, got 0"),
        ("size: [640, 0]", "WIDTHxHEIGHT, such as 640x480, got [640, 0]"),
        ("size: 640x", "got '640x'"),
        ("size: true", "got True"),
        ("style: {crop: [0, 0.5, 0]}", "style.crop: should be [left, top, right, bottom]"),
        ("style: {crop: [0.5, 0, 0.4, 1]}", "got [0.5, 0, 0.4, 1]"),
        ("style: {crop: [0, 0, 1, 1.5]}", "as shares from 0 to 1"),
        ("solver: 3", "solver"),
        ("- a\n- b\n", "should be keys with values, got list"),
        ("just words", "should be keys with values, got str"),
        ("a: [1", "is not YAML"),
        ("a: *b", "is not YAML"),
        ("a: !!python/object:os.system x", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_wrong_values(tmp_path, text, phrase):
    assert phrase in "\n".join(errors(tmp_path, text))


@pytest.mark.parametrize("text", ["nothing=", "style.weight", "=3", "size=[1"])
def test_wrong_assignments(text):
    with pytest.raises(ConfigError, match="--set"):
        config.load(assignments=[text])


def test_precedence_is_file_then_flags_then_assignments(tmp_path):
    options = {"flags": {"size": ("--size", 2), "seed": ("--seed", 2)}, "assignments": ["seed=3"]}
    found = load_text(tmp_path, "size: 1\nseed: 1\nmax_pixels: 1\n", **options)
    assert (found.max_pixels, found.size, found.seed) == (1, 2, 3)


def test_a_mistake_in_a_flag_names_the_flag():
    with pytest.raises(ConfigError, match=r"^--size: size: should be a number of pixels, or .* got 'big'$"):
        config.load(flags={"size": ("--size", "big")})


def test_the_solver_may_be_named_alone(tmp_path):
    found = load_text(tmp_path, "solver: lbfgsb\n", assignments=["solver.evaluations=7"])
    assert (found.solver.kind, found.solver.evaluations) == ("lbfgsb", 7)
    found = load_text(tmp_path, "solver: {evaluations: 7}\n", assignments=["solver=adam"])
    assert (found.solver.kind, found.solver.evaluations) == ("adam", 7)
    (line,) = errors(tmp_path, "solver: lbgs\n")
    assert "my.yaml:1:1: solver.kind: should be 'lbfgs', 'adam' or 'lbfgsb', got 'lbgs'" in line


def test_assignments_reach_into_short_forms(tmp_path):
    found = load_text(tmp_path, "style: b.jpg\n", assignments=["style.weight=1e4", "content=a.jpg"])
    assert (found.style.image, found.style.weight, found.content.image) == ("b.jpg", 1e4, "a.jpg")
    kept = load_text(tmp_path, "style: {image: b.jpg, weight: 7}\n", assignments=["style=c.jpg"])
    assert (kept.style.image, kept.style.weight) == ("c.jpg", 7)


def test_layers_with_and_without_weights(tmp_path):
    found = load_text(tmp_path, "style: {layers: [relu1_1, conv2_1]}\ncontent: {layers: {relu4_2: 2}}\n")
    assert found.style.layers == ("conv1_1", "conv2_1")
    assert found.content.layers == {"conv4_2": 2.0}


def test_blends_add_up_to_one(tmp_path):
    assert load_text(tmp_path, "init: {content: 3, noise: 1}").init == {"content": 0.75, "noise": 0.25}


def test_printing_and_loading_give_the_same_config(tmp_path):
    odd = config.load(
        assignments=[
            "content.image='a: b #c.jpg'",
            "style.image='12'",
            "output.image='true'",
            "init={content: 1, noise: 2}",
            "style.layers={conv1_1: 1, conv2_1: 0.5}",
            "content.layers=[]",
            "style.weight=1e-7",
        ]
    )
    assert load_text(tmp_path, config.to_yaml(odd)) == odd
    assert load_text(tmp_path, config.to_yaml(Settings())) == Settings()


@given(st.text(min_size=1))
def test_any_file_name_survives_printing(name):
    section = {"content": {"image": name}}
    value, _, problems = config.parse(config.to_yaml(config.load(base=section)), name="x")
    assert not problems
    assert value["content"]["image"] == name


@given(st.text())
def test_any_text_is_a_config_or_an_error(text):
    value, _, problems = config.parse(text, name="x")
    assert isinstance(value, dict)
    if not problems:
        with contextlib.suppress(ConfigError):
            config.load(base=value)


def test_every_key_has_a_meaning():
    text = config.to_yaml(Settings())
    for line in text.splitlines():
        assert "  # " in line, line
        assert "None" not in line.split("  # ")[1]


def test_config_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match=r"no such config file \(did you mean 'starry'\?\)"):
        config.load(tmp_path / "stary.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="no such config file"):
        config.load(tmp_path)


def test_packaged_configs_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        config.load("starry")
        == config.load("configs/starry.yaml")
        == config.load(ROOT / "configs" / "starry.yaml")
    )


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_config_loads_and_opens_with_its_command(file):
    loaded = config.load(file)
    assert loaded.content.image or loaded.content.map or file.stem in ("semantic", "seamless")
    command = "nst_jax sweep" if loaded.sweep.axes else "nst_jax"
    more = " --content PHOTO --style PAINTING" if file.stem == "semantic" else ""
    assert file.read_text().startswith(f"# python -m {command} --config configs/{file.name}{more}\n")
    assert math.isfinite(loaded.style.scale)


@pytest.mark.parametrize(
    ("written", "wanted"), [("4GiB", 2**32), ("800MB", 8e8), ("1.5 G", 1.5e9), ("64Ki", 2**16), (5000, 5000)]
)
def test_memory_limits(written, wanted):
    assert config.load(base={"memory_limit": written}).memory_limit == wanted


@pytest.mark.parametrize("written", ["2,1", "2, 1.0", [2, 1]])
def test_shares_may_be_written_as_text(written):
    assert config.load(base={"style": {"shares": written}}).style.shares == (2.0, 1.0)


@pytest.mark.parametrize("written", ["2,x", "2,,1", "", 2, "nan,1", [0, 0]])
def test_shares_that_are_none(written):
    with pytest.raises(ConfigError, match=r"style\.shares: should "):
        config.load(base={"style": {"shares": written}})


def test_sizes_and_crops_as_they_may_be_written():
    for written in ("640x480", "640 X 480", [640, 480]):
        found = config.load(base={"size": written})
        assert (found.size, found.longest, found.written_size(2)) == ((640, 480), 640, "1280x960")
        assert config.load(base=as_dict(found)) == found
    assert config.load(base={"size": 100}).longest == 100
    assert config.load().longest == LONGEST
    assert config.load(base={"style": {"crop": [0, 0, 1, 0.5]}}).style.crop == (0.0, 0.0, 1.0, 0.5)
    assert config.parse(config.to_yaml(found), name="")[0]["size"] == [640, 480]

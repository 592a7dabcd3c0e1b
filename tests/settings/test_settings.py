import contextlib
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_jax.errors import ConfigError, SettingError
from nst_jax.settings import (
    SHORT,
    Content,
    Film,
    Loss,
    Output,
    Patch,
    Pyramid,
    Settings,
    Solver,
    Style,
    Sweep,
    as_dict,
    default_of,
    every_setting,
    from_dict,
    is_section,
)

ODD = Settings(
    content=Content(image="a.jpg", weight=2, layers={"relu4_2": 1}),
    style=Style(image="b.jpg", kind="patch", layers=["conv3_1"], crop=[0, 0, 1, 0.5], map="none"),
    init={"content": 3, "noise": 1},
    size="640x480",
    memory_limit="4GiB",
    patch=Patch(rotations=[-7.5, 7.5]),
    sweep=Sweep(axes=[{"style.weight": [1, 2]}]),
)


def test_defaults_of_the_papers():
    found = Settings()
    assert (found.content.layers, found.style.kind, found.style.layers) == (("conv4_2",), "gram", None)
    assert (found.init, found.seed, found.longest) == ("content", 0, 512)
    assert (found.solver.kind, found.solver.evaluations, found.solver.linesearch) == ("lbfgs", 150, "none")
    assert (found.loss.convention, found.network.pool, found.network.padding) == ("gatys2016", "avg", "zero")
    assert (found.content.weight, found.style.weight, found.semantic.weight) == (None, None, 50.0)
    assert (found.pyramid.variables, found.solver.beta2) == (None, 0.999)
    assert (found.solver.averaging, found.solver.carry) == (0.0, False)
    assert (found.output.image, found.sweep.axes) == ("out.png", ())


def test_every_default_passes_its_own_check_and_has_a_meaning():
    for key, each in every_setting(Settings()):
        if each.default is not None:
            assert each.metadata["check"](each.default) == each.default, key
        assert each.metadata["meaning"], key


def test_flags_are_given_once():
    flags = [each.metadata["flag"] for _, each in every_setting(Settings()) if each.metadata["flag"]]
    assert {flag for flag in flags if flags.count(flag) > 1} == {"output"}  # of one run, and of a sweep


def test_values_have_one_form_whoever_gives_them():
    assert ODD.content.layers == {"conv4_2": 1.0}
    assert ODD.style.layers == ("conv3_1",)
    assert ODD.style.crop == (0.0, 0.0, 1.0, 0.5)
    assert ODD.init == {"content": 0.75, "noise": 0.25}
    assert (ODD.size, ODD.memory_limit) == ((640, 480), 2**32)
    assert type(ODD.content.weight) is float


@pytest.mark.parametrize(
    "kind", [Settings, *(type(default_of(f)) for f in fields(Settings) if is_section(f))]
)
def test_every_section_checks_itself(kind):
    for each in fields(kind):
        with pytest.raises(SettingError) as caught:
            kind(**{each.name: object()})
        (((name,), sentence),) = caught.value.problems
        assert name == each.name
        assert "got <object" in sentence


def test_all_mistakes_of_a_section_at_once():
    with pytest.raises(SettingError) as caught:
        Solver(kind="lbgs", evaluations=0, learning_rate=1.5)
    assert [key for key, _ in caught.value.problems] == [("kind",), ("evaluations",)]
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        (Style, {"weight": -1}, "should be 0, or from 1e-15 to 1e+15, got -1"),
        (Style, {"weight": float("nan")}, "should be 0, or from 1e-15 to 1e+15, got nan"),
        (Style, {"weight": True}, "should be 0, or from 1e-15 to 1e+15, got True"),
        (Style, {"weight": 1e22}, "should be 0, or from 1e-15 to 1e+15, got 1e+22"),
        (Loss, {"total_variation": 1e-38}, "should be 0, or from 1e-15 to 1e+15, got 1e-38"),
        (Style, {"layers": {"conv1_1": 1e-20}}, "a layer's weight should be 0, or from 1e-15 to 1e+15"),
        (Style, {"scale": 17}, "should be a finite number above 0 and of at most 16, got 17"),
        (
            Style,
            {"kind": "gramm"},
            "should be 'gram', 'moments', 'w2', 'sliced', 'histogram', 'strotss', 'nnst', 'patch' or 'gui",
        ),
        (
            Settings,
            {"seed": 1.5},
            "should be a whole number of at least 0 and of at most 4294967295, got 1.5",
        ),
        (
            Settings,
            {"seed": 2**32},
            "should be a whole number of at least 0 and of at most 4294967295, got 4",
        ),
        (Settings, {"style": "b.jpg"}, "should be Style, got 'b.jpg'"),
        (Output, {"bits": 12}, "should be 8 or 16, got 12"),
        (Output, {"bits": 16.0}, "should be 8 or 16, got 16.0"),
        (Pyramid, {"variables": "bands"}, "should be 'pixels' or 'laplacian', got 'bands'"),
        (Solver, {"beta2": 1}, "should be a finite number of at least 0 and of at most 0.999999, got 1"),
        (
            Solver,
            {"averaging": 1.0},
            "should be a finite number of at least 0 and of at most 0.999999, got 1",
        ),
        (Solver, {"carry": 1}, "should be False or True, got 1"),
        (Film, {"codec": "mpeg2"}, "should be 'h264', 'h265', 'vp9', 'av1', 'prores' or 'ffv1', got 'mpeg2'"),
        (Film, {"quality": 101}, "should be a whole number of at least 1 and of at most 100, got 101"),
        (Film, {"rate": "30000/0"}, "should be a number from 0.01 to 1000, or a fraction such as 30000/1001"),
        (Film, {"rate": 0}, "should be a number from 0.01 to 1000, or a fraction such as 30000/1001, got 0"),
        (Film, {"rate": True}, "should be a number from 0.01 to 1000, or a fraction such as 30000/1001"),
    ],
)
def test_mistakes_say_what_is_allowed(section, values, sentence):
    with pytest.raises(SettingError) as caught:
        section(**values)
    assert caught.value.problems[0][1].startswith(sentence)


def test_rates_of_films_are_numbers_or_fractions():
    assert Film(rate="30000/1001").rate == "30000/1001"
    assert Film(rate=12).rate == 12.0
    assert Film().rate is None


def test_nothing_is_changed_in_place_and_replace_checks_again():
    with pytest.raises(FrozenInstanceError):
        ODD.seed = 3
    with pytest.raises(SettingError, match="seed: should be a whole number"):
        replace(ODD, seed=-1)


def test_other_values_by_dotted_key():
    found = ODD.with_values({"style.weight": 3, "seed": 5, "solver": "adam", "content": "c.jpg"})
    assert (found.style.weight, found.seed, found.solver.kind, found.content.image) == (
        3.0,
        5,
        "adam",
        "c.jpg",
    )
    assert found.style == replace(ODD.style, weight=3)
    assert found.content.weight == ODD.content.weight
    assert ODD.with_values({}) == ODD


def test_mistakes_in_dotted_keys_come_all_at_once():
    with pytest.raises(SettingError) as caught:
        ODD.with_values({"stile.weight": 1, "style.wieght": 1, "seed.x": 1, "style.weight": -1, "seed": 1})
    found = {".".join(map(str, key)): text for key, text in caught.value.problems}
    assert list(found) == ["stile.weight", "style.wieght", "seed.x", "style.weight"]
    assert "did you mean 'style'" in found["stile.weight"]
    assert "did you mean 'weight'" in found["style.wieght"]
    assert found["style.weight"] == "should be 0, or from 1e-15 to 1e+15, got -1"


@pytest.mark.parametrize("settings", [Settings(), ODD], ids=["defaults", "odd"])
def test_plain_values_and_back(settings):
    data = as_dict(settings)
    assert from_dict(json.loads(json.dumps(data))) == from_dict(data) == settings
    assert [name for name in data if isinstance(data[name], dict)] == [
        *("content", "style", *(["init"] if isinstance(settings.init, dict) else []), "semantic", "patch"),
        *("pyramid", "network", "loss", "solver", "output", "film", "sweep"),
    ]


def test_sections_may_be_written_as_their_main_value():
    assert SHORT == {"content": "image", "style": "image", "solver": "kind", "output": "image"}
    short = from_dict({"content": "a", "style": "b", "solver": "adam", "output": "c.png"})
    assert short == Settings(Content("a"), Style("b"), solver=Solver("adam"), output=Output("c.png"))


def test_mistakes_in_plain_values_come_all_at_once_with_their_keys():
    with pytest.raises(SettingError) as caught:
        from_dict({"style": {"weight": -1, "wieght": 2}, "seed": "x", "solver": 3, "hue": "red"})
    assert [key for key, _ in caught.value.problems] == [
        *(("style", "weight"), ("style", "wieght"), ("seed",), ("solver",), ("hue",))
    ]


VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANY = st.recursive(
    VALUE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(st.sampled_from(list(every_setting(Settings()))), ANY)
def test_any_value_is_taken_in_one_form_or_refused(setting, value):
    key, _ = setting
    with contextlib.suppress(SettingError):
        found = Settings().with_values({key: value})
        assert from_dict(as_dict(found)) == found


def test_neither_jax_nor_yaml_is_needed():
    code = (
        "import sys, nst_jax.settings; assert not {'jax', 'yaml'} & set(sys.modules); "
        "import nst_jax.config; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

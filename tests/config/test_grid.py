import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from makers import errors, load_text

from nst_jax import config
from nst_jax.errors import ConfigError
from nst_jax.losses.conventions import CONVENTIONS, FALLOFF
from nst_jax.settings import Settings, Sweep


def sweep(axes, **others):
    return config.load(base={"sweep": {"axes": axes}, **others})


def values(axes, key="style.weight"):
    return sweep(axes).sweep.axes[0][key]


def texts(axes, **others):
    return [tuple(cell.settings.values()) for cell in config.cells(sweep(axes, **others))]


# --- What is written ------------------------------------------------------------------------------


def test_the_keys_of_a_mapping_are_axes_of_their_own():
    assert texts({"style.weight": [1, 2], "seed": [3, 4, 5]}) == [
        *(("1", "3"), ("1", "4"), ("1", "5")),
        *(("2", "3"), ("2", "4"), ("2", "5")),
    ]


def test_mappings_of_a_list_are_crossed_and_the_keys_of_one_go_together():
    assert texts([{"style.weight": [1, 2], "seed": [3, 4]}, {"size": [64, 128]}]) == [
        *(("1", "3", "64"), ("1", "3", "128")),
        *(("2", "4", "64"), ("2", "4", "128")),
    ]


def test_cells_are_numbered_and_placed_with_the_last_axis_fastest():
    cells = config.cells(sweep({"seed": [0, 1], "size": [8, 9, 10], "style.weight": [5]}))
    assert [cell.index for cell in cells] == list(range(6))
    assert [cell.position for cell in cells] == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
        (1, 0, 0),
        (1, 1, 0),
        (1, 2, 0),
    ]


@pytest.mark.parametrize("axes", [{"style": {"weight": [1, 2]}}, [{"style": {"weight": [1, 2]}}]])
def test_nested_keys_are_as_good_as_dotted_ones(axes):
    assert sweep(axes) == sweep({"style.weight": [1, 2]})
    assert sweep(
        {"solver": {"evaluations": [1]}, "style": {"weight": {"linspace": [1, 2, 2]}, "scale": [2]}}
    ) == (sweep({"solver.evaluations": [1], "style.weight": [1, 2], "style.scale": [2]}))


@pytest.mark.parametrize("ends", [(1e-4, 1e-1, 4), (10, 1e-2, 7), (1, 1000, 4), (3.0, 5.0, 2), (2, 3, 1)])
def test_logspace_is_numpys_geomspace(ends):
    np.testing.assert_allclose(
        values({"style.weight": {"logspace": list(ends)}}), np.geomspace(*ends), rtol=1e-11
    )


@pytest.mark.parametrize("ends", [(0, 1, 11), (1, 0, 3), (0.1, 0.7, 4), (5, 6, 1), (2.5, 2.5, 3)])
def test_linspace_is_numpys(ends):
    np.testing.assert_allclose(
        values({"style.weight": {"linspace": list(ends)}}), np.linspace(*ends), rtol=1e-11, atol=1e-15
    )


def test_computed_values_are_the_numbers_that_one_would_write():
    assert values({"style.weight": {"logspace": [1e-4, 1e-1, 4]}}) == (0.0001, 0.001, 0.01, 0.1)
    assert values({"style.weight": {"linspace": [0, 0.3, 4]}}) == (0, 0.1, 0.2, 0.3)
    assert texts({"style.weight": {"logspace": [1e-6, 1e-3, 4]}}) == [
        ("1e-6",),
        ("1e-5",),
        ("0.0001",),
        ("0.001",),
    ]


def test_numbers_are_told_in_few_letters():
    assert texts({"style.weight": [1000, 1e6, 2.5e10, 1.0, 0.25, 1e-10]}) == [
        *(("1000",), ("1e6",), ("2.5e10",), ("1",), ("0.25",), ("1e-10",))
    ]


def test_whole_numbers_stay_whole_so_that_seeds_can_be_counted():
    cells = config.cells(sweep({"seed": {"linspace": [0, 3, 4]}, "size": {"linspace": [128, 64, 3]}}))
    assert {(c.config.seed, c.config.size) for c in cells} == {
        (s, n) for s in range(4) for n in (64, 96, 128)
    }
    assert all(type(c.config.seed) is int for c in cells)
    with pytest.raises(ConfigError, match=r"seed: should be a whole number .*, got 1\.5"):
        sweep({"seed": {"linspace": [0, 3, 3]}})


def test_words_of_an_axis_are_given_or_made():
    found = config.axes(
        sweep(
            [
                {"style.weight": [1, 1e6], "labels": ["little", 2], "title": "paint"},
                {"seed": [3], "style": ["sample:starry_swirls"]},
                {"content": ["far/away/my photo.jpg", "b.png"]},
            ]
        )
    )
    assert [(axis.title, axis.labels) for axis in found] == [
        ("paint", ("little", "2")),
        ("seed / style", ("3 / starry_swirls",)),
        ("content", ("my photo", "b")),
    ]


def test_a_config_without_axes_is_one_cell():
    (cell,) = config.cells(Settings())
    assert (cell.index, cell.position, cell.settings, cell.config) == (0, (), {}, Settings())


# --- What a cell is -------------------------------------------------------------------------------

FALLING = CONVENTIONS["gatys2016"].layer_weights([f"conv{n}_1" for n in range(1, 6)], falloff=FALLOFF)
REST = ", ".join(f"{name}: {share}" for name, share in FALLING.items() if name != "conv1_1")
ONES = ", ".join(f"conv{n}_1: 1" for n in (2, 3, 4, 5))
BY_HAND = {
    "{style.weight: [1, 1e3]}": ["style: {weight: 1}", "style: {weight: 1000}"],
    "{content.weight: [~, 0]}": ["", "content: {weight: 0}"],
    "{size: [64], solver.evaluations: [7, 9]}": [
        "{size: 64, solver: {evaluations: 7}}",
        "{size: 64, solver: {evaluations: 9}}",
    ],
    "{solver: {history: [5, ~], learning_rate: [1]}}": [
        "solver: {history: 5, learning_rate: 1}",
        "solver: {learning_rate: 1}",
    ],
    "[{content: [a.jpg, 'sample:coffee'], style.image: [b.jpg, c.jpg]}]": [
        "{content: a.jpg, style: b.jpg}",
        "{content: 'sample:coffee', style: c.jpg}",
    ],
    "{style.layers: [[conv1_1], [relu1_1, conv2_1], {conv3_1: 2}]}": [
        "style: {layers: [conv1_1]}",
        "style: {layers: [conv1_1, conv2_1]}",
        "style: {layers: {conv3_1: 2}}",
    ],
    "{style.layers.conv1_1: [0, 1]}": [
        f"style: {{layers: {{conv1_1: 0, {REST}}}}}",
        f"style: {{layers: {{conv1_1: 1, {REST}}}}}",
    ],
    "{content.layers.conv2_2: [3]}": ["content: {layers: {conv4_2: 1, conv2_2: 3}}"],
    "{init: [content, noise, {content: 1, noise: 1}, a.png]}": [
        "init: content",
        "init: noise",
        "init: {content: 0.5, noise: 0.5}",
        "init: a.png",
    ],
    "{init.noise: [0, 0.25, 1]}": [
        "init: {content: 1, noise: 0}",
        "init: {content: 0.8, noise: 0.2}",
        "init: {content: 0.5, noise: 0.5}",
    ],
}


@pytest.mark.parametrize("axes", BY_HAND)
def test_a_cell_is_the_config_that_one_would_write_for_its_point(tmp_path, axes):
    cells = config.cells(load_text(tmp_path, f"sweep: {{axes: {axes}}}"))
    assert [cell.config for cell in cells] == [load_text(tmp_path, text) for text in BY_HAND[axes]]


def test_other_settings_are_the_sweeps_own(tmp_path):
    rest = "content: a.jpg\nstyle: {image: b.jpg, weight: 7, scale: 0.5}\nseed: 3\noutput: c.jpg\n"
    swept = load_text(tmp_path, rest + "sweep: {folder: x, axes: {style.weight: [1]}}")
    assert [cell.config for cell in config.cells(swept)] == [
        load_text(tmp_path, rest.replace("weight: 7", "weight: 1"))
    ]


def test_one_layer_leaves_the_others_their_share_in_the_formula(tmp_path):
    text = "loss: {convention: notebook}\n"
    (cell,) = config.cells(load_text(tmp_path, text + "sweep: {axes: {style.layers.conv1_1: [0.5]}}"))
    assert cell.config == load_text(tmp_path, f"{text}style: {{layers: {{conv1_1: 0.5, {ONES}}}}}")


def test_one_layer_of_layers_with_weights():
    (cell,) = config.cells(
        sweep({"style.layers.conv1_1": [9]}, style={"layers": {"conv1_1": 1, "conv3_1": 4}})
    )
    assert cell.config.style.layers == {"conv1_1": 9, "conv3_1": 4}


# --- Mistakes -------------------------------------------------------------------------------------

STRUCTURE = {
    "[{style.weight: [1, 2], seed: [1]}]": "settings in one axis .*: style.weight has 2, seed has 1",
    "[{seed: [1, 2], labels: [a]}]": "settings in one axis .*: seed has 2, labels has 1",
    "[{seed: [1, 2], labels: ab}]": "labels should be a list of texts, got 'ab'",
    "{seed: []}": "seed: the list of values is empty",
    "{seed: 3}": "seed: should be a list of values, .*logspace.*, got 3",
    "{style: {weight: }}": "style.weight: should be a list of values, .*, got None",
    "{style.weight: {logspace: [-1, 10, 3]}}": r"style.weight: logspace .* above 0.*; got \[-1, 10, 3\]",
    "{style.weight: {logspace: [0, 10, 3]}}": "style.weight: logspace .* above 0",
    "{style.weight: {logspace: [1, 10]}}": r"should be {logspace: \[first, last, count\]}, got",
    "{style.weight: {linspace: [1, 10, 0]}}": r"should be {linspace: \[first, last, count\]}, got",
    "{style.weight: {linspace: [1, 10, 2.5]}}": r"should be {linspace: \[first, last, count\]}, got",
    "{style.weight: {linspace: [1, .inf, 3]}}": r"should be {linspace: \[first, last, count\]}, got",
    "{style.weight: {linspace: [1, true, 3]}}": r"should be {linspace: \[first, last, count\]}, got",
    "{style.weight: {linspace: 3}}": r"should be {linspace: \[first, last, count\]}, got",
    "{style.weight: {linspace: [1, 2, 3], logspace: [1, 2, 3]}}": r"should be {l..space: .*, got",
    "[{seed: [1]}, {seed: [2]}]": "seed is in two axes",
    "[{seed: [1], size: [9]}, {style.weight: [2], size: [8]}]": "size is in two axes",
    "[{title: x}]": "an axis has no setting",
    "[{}]": "should be settings with lists of values, or a list of these",
    "[seed]": "should be settings with lists of values, or a list of these",
    "seed": "should be settings with lists of values, or a list of these",
}


@pytest.mark.parametrize("axes", STRUCTURE)
def test_what_is_no_axis_is_refused_with_its_place(tmp_path, axes):
    (line,) = errors(tmp_path, f"seed: 0\nsweep:\n  axes: {axes}\n")
    assert line.startswith("my.yaml:3:3: sweep.axes: ")
    with pytest.raises(ConfigError, match=STRUCTURE[axes]):
        config.load(assignments=[f"sweep.axes={axes}"])


VALUES = {
    "style.wieght: [1]": r"unknown key \(did you mean 'style.weight'\?\); can be swept: .*style.weight",
    "hue: [1]": "unknown key; can be swept: .*seed.*colour",
    "colour: [style, red]": "should be 'style', 'content' or 'matched', got 'red'",
    "style.layers.conv1_1.x: [1]": "unknown key",
    "network.pool: [avg, max]": "is not a number and cannot be swept; can be swept: .*seed",
    "network.normalised: [true]": "is not a number and cannot be swept",
    "weights: [auto]": "is not a number and cannot be swept",
    "loss.convention: [notebook]": "is not a number and cannot be swept",
    "sweep.max_cells: [1, 2]": "cannot be swept",
    "output.quality: [3]": "cannot be swept",
    "max_pixels: [4]": "cannot be swept",
    "style.weight: [1, -2]": r"should be 0, or from 1e-15 to 1e\+15, got -2",
    "style.weight: [true]": r"should be 0, or from 1e-15 to 1e\+15, got True",
    "style.weight: [1, heavy]": r"should be 0, or from 1e-15 to 1e\+15, got 'heavy'",
    "seed: [1.5]": r"should be a whole number .*, got 1\.5",
    "seed: [[1]]": r"should be a whole number .*, got \[1\]",
    "content: [3]": "should be text, got 3",
    "style.layers: [conv1_1, conv2_1]": "should be a list of layers, .*, got 'conv1_1'",
    "style.layers: [[conv1_1], [conv9_1]]": r"unknown layer 'conv9_1' \(did you mean",
    "style.layers: [[conv1_1, relu1_1]]": "names a layer twice",
    "style.layers.conv9_1: [0]": r"unknown layer 'conv9_1' \(did you mean",
    "style.layers.conv1_1: [-1]": r"a layer's weight should be 0, or from 1e-15 to 1e\+15, got -1",
    "init: [{content: 0}]": "shares of a blend should add up to more than 0",
    "init: [{content: 1, photo: 1}]": "a blend is of content, style, noise, got 'photo'",
    "init.photo: [1]": "a blend is of content, style, noise, got 'photo'",
    "init.noise: [-1]": "the share of 'noise' should be a number of at least 0, got -1",
}


@pytest.mark.parametrize("axis", VALUES)
def test_what_a_setting_cannot_be_is_refused_with_its_place(tmp_path, axis):
    key = axis.partition(": ")[0]
    (line,) = errors(tmp_path, f"seed: 0\nsweep:\n  axes:\n    - size: [9]\n    - {axis}\n")
    assert line.startswith(f"my.yaml:5:7: sweep: {key}: ")
    given = f"--set sweep.axes={{{axis}}}"
    with pytest.raises(ConfigError, match=VALUES[axis]) as caught:
        config.load(assignments=[given.removeprefix("--set ")])
    assert str(caught.value).startswith(f"{given}: sweep: {key}: ")


def test_mistakes_of_several_axes_are_reported_at_once(tmp_path):
    text = (
        "sweep:\n"
        "  axes:\n"
        "    style:\n"
        "      weight: [1, -2]\n"
        "    seed: [0.5]\n"
        "    network.pool: [avg]\n"
        "    stile.scale: [1]\n"
    )
    found = errors(tmp_path, text, assignments=["sweep.axes.size=[0]"])
    assert [line.split(": sweep: ")[0] for line in found] == [
        *("my.yaml:4:7", "my.yaml:5:5", "my.yaml:6:5", "my.yaml:7:5"),
        "--set sweep.axes.size=[0]",
    ]


def test_a_large_grid_is_refused_with_its_number_of_cells(tmp_path):
    text = "sweep:\n  axes: {seed: {linspace: [0, 19, 20]}, style.weight: {linspace: [1, 21, 21]}}\n"
    (line,) = errors(tmp_path, text)
    assert line.startswith("my.yaml:2:3: sweep: the grid has 420 cells, more than max_cells: 400")
    (line,) = errors(tmp_path, text + "  max_cells: 419\n")
    assert line == "my.yaml:3:3: sweep: the grid has 420 cells, more than max_cells: 419"
    assert len(config.cells(load_text(tmp_path, text + "  max_cells: 420\n"))) == 420


def test_a_sweep_of_what_cannot_be_swept_is_refused_without_a_file_too():
    wrong = Settings(sweep=Sweep(axes=({"network.pool": ("avg",)}, {"seed": (-1,)})))
    with pytest.raises(
        ConfigError, match=r"network\.pool: is not a number.*\n.*seed: should be a whole"
    ) as caught:
        config.cells(wrong)
    assert len(str(caught.value).splitlines()) == 2


# --- Any axes -------------------------------------------------------------------------------------

LAYERS = ["conv1_1", "conv2_1", "conv3_2", "conv4_4"]
POSSIBLE = {
    "seed": st.integers(0, 2**32 - 1),
    "size": st.integers(1, 10**6),
    "style.weight": st.integers(0, 10**9),
    "style.scale": st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]),
    "solver.evaluations": st.integers(1, 10**6),
    "init": st.sampled_from(["content", "style", "noise", "a.png", "b.png"]),
    "content": st.sampled_from(["a.jpg", "sample:coffee", "b/c.png", "d"]),
    "style.layers": st.lists(st.sampled_from(LAYERS), min_size=1, unique=True),
}


@st.composite
def some_axes(draw):
    keys = draw(st.lists(st.sampled_from(list(POSSIBLE)), min_size=1, max_size=5, unique=True))
    axes = []
    while keys:
        together = [keys.pop() for _ in range(draw(st.integers(1, min(2, len(keys)))))]
        count = draw(st.integers(1, 3))
        several = {k: st.lists(POSSIBLE[k], min_size=count, max_size=count, unique_by=str) for k in together}
        axis = {key: draw(values) for key, values in several.items()}
        words = {"labels": st.lists(st.text(), min_size=count, max_size=count), "title": st.text()}
        axes.append(axis | draw(st.fixed_dictionaries({}, optional=words)))
    return axes


@given(some_axes())
@examples(max_examples=60)
def test_any_axes(axes):
    swept = sweep(axes)
    cells = config.cells(swept)
    counts = [len(next(v for k, v in axis.items() if k in POSSIBLE)) for axis in axes]
    assert len(cells) == math.prod(counts)
    assert [cell.position for cell in cells] == list(np.ndindex(*counts))
    assert len({tuple(cell.settings.items()) for cell in cells}) == len(cells)
    assert [len(axis.labels) for axis in config.axes(swept)] == counts
    for cell in cells:
        assert cell.config.sweep == Sweep()
        for axis, i in zip(axes, cell.position, strict=True):
            if "seed" in axis:
                assert cell.config.seed == axis["seed"][i]
            if "style.layers" in axis:
                assert list(cell.config.style.layers) == axis["style.layers"][i]
    printed, _, problems = config.parse(config.to_yaml(swept), name="x")
    assert not problems
    assert config.load(base=printed) == swept


def test_a_printed_sweep_loads_as_the_same(tmp_path):
    swept = load_text(
        tmp_path,
        "sweep:\n"
        "  axes:\n"
        "    - {style: {weight: {logspace: [1e-7, 1e7, 15]}}, title: 'α: β #1'}\n"
        "    - init: [content, {content: 1, noise: 2}]\n"
        "      style.layers: [[conv1_1], {conv2_1: 0.5}]\n"
        "      labels: [no, 12]\n"
        "    - {content.weight: [~, 0.1]}\n"
        "  folder: 'a: b'\n"
        "  lanes: threads\n"
        "  max_parallel: 3\n",
    )
    again = load_text(tmp_path, config.to_yaml(swept))
    assert again == swept
    assert config.cells(again) == config.cells(swept)


def test_a_folder_of_a_packaged_configs_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = config.find("starry")
    (tmp_path / "starry").mkdir()
    assert config.find("starry") == config.find("starry.yaml") == wanted
    assert wanted.is_file()
    (tmp_path / "starry.yaml").write_text("seed: 3\n")
    assert config.load("starry.yaml").seed == 3


@pytest.mark.parametrize(
    "axes",
    [
        {"content": ["a.jpg"], "content.image": ["b.jpg"]},
        {"style.layers.conv1_1": [0, 1], "style.layers": [["conv1_1"]]},
        {"init.noise": [0, 1], "init": ["content"]},
    ],
)
def test_one_setting_by_two_names_is_refused(axes):
    with pytest.raises(ConfigError, match="two axes"):
        sweep(axes)


def test_a_blend_by_its_shares():
    cells = config.cells(sweep([{"init.content": [0, 1], "init.noise": [1, 0]}]))
    assert [c.config.init for c in cells] == [{"content": 0, "noise": 1}, {"content": 1, "noise": 0}]


def test_what_no_cell_can_be_is_refused_when_loaded():
    with pytest.raises(ConfigError, match="more than 0"):
        sweep({"init.content": [0, 1], "init.noise": [1, 0]}, init={"content": 1, "noise": 1})


def test_a_layer_by_its_other_name():
    assert config.cells(sweep({"style.layers.relu1_1": [0]}))[0].config.style.layers["conv1_1"] == 0


@pytest.mark.parametrize(
    "axes",
    [{"style.weight": [0.1, 0.1000001]}, {"content": ["a/x.jpg", "b/x.jpg"]}],
    ids=["numbers", "files"],
)
def test_words_of_different_values_differ(axes):
    assert len(set(texts(axes))) == 2
    assert len(set(config.axes(sweep(axes))[0].labels)) == 2


@pytest.mark.parametrize("kind", ["linspace", "logspace"])
def test_numbers_too_large_for_floats_are_a_mistake(kind):
    with pytest.raises(ConfigError):
        sweep({"style.weight": {kind: [1, 10**400, 3]}})


def test_a_wide_logspace():
    np.testing.assert_allclose(values({"style.weight": {"logspace": [1e-15, 1e15, 3]}}), [1e-15, 1, 1e15])


def test_all_that_is_no_axis_is_reported_at_once(tmp_path):
    (line,) = errors(tmp_path, "sweep:\n  axes:\n    style.weight: []\n    seed: 3\n    size: [0]\n")
    assert line.startswith(
        "my.yaml:2:3: sweep.axes: style.weight: the list of values is empty; seed: should be"
    )


def test_a_setting_over_a_list_of_axes_is_refused(tmp_path):
    given = "sweep.axes.seed=[3]"
    found = errors(tmp_path, "sweep: {axes: [{style.weight: [1]}]}\n", assignments=[given])
    assert found == [f"--set {given}: sweep.axes.seed: sweep.axes is a list here; set it as a whole"]


def test_an_axis_with_words_may_stand_alone():
    (axis,) = config.axes(sweep({"title": "noise", "labels": ["a", None], "seed": [1, 2]}))
    assert (axis.title, axis.labels) == ("noise", ("a", "null"))


def test_a_mistake_in_an_assignment_over_a_file_names_the_assignment(tmp_path):
    given = "sweep.axes.style.weight=[-3]"
    (line,) = errors(tmp_path, "sweep: {axes: {style.weight: [1]}}\n", assignments=[given])
    assert line.startswith(f"--set {given}: ")

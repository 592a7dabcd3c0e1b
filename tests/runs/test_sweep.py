import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
from makers import AXES, paint_sweep, sweep_settings

from nst_jax import config, images
from nst_jax.errors import ConfigError, ImageError, OutputError
from nst_jax.runs import gallery, records, sweep
from nst_jax.runs import single as run
from nst_jax.settings import as_dict
from nst_jax.transfer import batch

pytestmark = pytest.mark.usefixtures("world")


def tree(folder):
    """Return the bytes of every file, but of the timeless ones' times there are none."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_sweep_leaves_pictures_sheet_and_page(world):
    outcome, said = paint_sweep(sweep_settings())
    assert (outcome.cells, outcome.done, outcome.interrupted, said) == (6, 6, False, [])
    folder = world / "grid"
    assert sorted(tree(folder)) == [
        *(f"cells/{i:04d}.{kind}" for i in range(6) for kind in ("json", "png")),
        *("config.yaml", "index.html", "sheet.png", "sweep.json"),
    ]
    assert images.read(folder / "cells" / "0000.png").rgb.shape == (18, 24, 3)
    assert images.read(folder / "sheet.png").rgb.shape[1] > 3 * 256
    assert config.load(folder / "config.yaml") == sweep_settings()
    record = json.loads((folder / "cells" / "0005.json").read_text())
    assert record["settings"] == {"style.weight": "1000", "content.weight": "10"}
    assert record["result"]["status"] == "finished"
    assert [point["evaluations"] for point in record["curve"]] == [1, 2, 3, 4, 5, 6]


def test_a_cell_is_the_run_alone_and_can_be_repeated():
    paint_sweep(sweep_settings())
    picture = "grid/cells/0004.png"
    base, _ = records.replayed(picture)
    assert (base["style"]["weight"], base["content"]["weight"], base["sweep"]["axes"]) == (1000.0, 1.0, [])
    run.run(config.load(base=base | {"output": "alone.png"}), say=lambda line: None)
    np.testing.assert_array_equal(images.read("alone.png").rgb, images.read(picture).rgb)


def test_what_is_done_is_not_done_again(world, monkeypatch):
    paint_sweep(sweep_settings())
    before = tree(world / "grid")
    monkeypatch.setattr(batch, "_solve", lambda *a: pytest.fail("painted again"))
    outcome, _ = paint_sweep(sweep_settings())
    assert (outcome.done, tree(world / "grid")) == (6, before)


def test_shards_in_any_order_make_the_same_folder(world):
    paint_sweep(sweep_settings())
    folder = world / "grid"
    whole = tree(folder)
    os.rename(folder, world / "kept")
    first, _ = paint_sweep(sweep_settings(), shard=(2, 2))
    assert (first.done, first.collection) == (3, None)
    assert not (folder / "index.html").exists()
    partly = gallery.collect(folder)
    assert partly.missing == (0, 2, 4)
    assert "not done yet" in (folder / "index.html").read_text()
    paint_sweep(sweep_settings(), shard=(2, 2))  # started twice by mistake
    last, _ = paint_sweep(sweep_settings(), shard=(1, 2))
    assert last.collection.missing == ()
    assert tree(folder) == whole


def test_a_shard_at_work_is_not_started_again(world):
    paint_sweep(sweep_settings(), shard=(1, 3))
    (world / "grid" / ".state").mkdir()
    with filelock.FileLock(world / "grid" / ".state" / "2-of-3.lock"):
        with pytest.raises(OutputError, match="shard 2-of-3 is being painted by another process"):
            paint_sweep(sweep_settings(), shard=(2, 3))
        assert paint_sweep(sweep_settings(), shard=(3, 3))[0].done == 4
    assert paint_sweep(sweep_settings(), shard=(2, 3))[0].done == 6


def test_two_processes_with_the_same_shard_do_no_harm(world, monkeypatch):
    """As if locks did not work, which is so on some network drives."""
    paint_sweep(sweep_settings())
    whole = tree(world / "grid")
    os.rename(world / "grid", world / "kept")
    real, inner = batch._solve, []

    def twice(grid, job):
        if not inner:
            inner.append(True)
            monkeypatch.setattr(filelock.FileLock, "acquire", lambda self, timeout: None)
            monkeypatch.setattr(filelock.FileLock, "release", lambda self: None)
            paint_sweep(sweep_settings())
        return real(grid, job)

    monkeypatch.setattr(batch, "_solve", twice)
    paint_sweep(sweep_settings(axes=AXES), shard=(1, 1))
    assert inner
    assert tree(world / "grid") == whole


INTERRUPTED = """
import functools, os, signal, sys
sys.path.insert(0, sys.argv[1])
from makers import NARROW
from nst_jax import config
from nst_jax.pretrained import files as weights
from nst_jax.runs import sweep
from nst_jax.transfer import checkpoints
weights.read = functools.partial(weights.read, blocks=NARROW)
checkpoints.SAVE_SECONDS, checkpoints.SAVE_SHARE = 0.0, 1e9

def watch(progress):
    print(progress.evaluations, flush=True)
    if progress.evaluations >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

sweep.run(config.load(sys.argv[2]), callback=watch)
"""


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_killed_work_goes_on_and_ends_with_the_same_bytes(world, mode):
    one = sweep_settings(folder="one", solver={"evaluations": 60}, init="noise")
    one = one.with_values({"sweep.lanes": mode})
    two = one.with_values({"sweep.folder": "two"})
    (world / "two.yaml").write_text(config.to_yaml(two))
    paint_sweep(one)
    command = [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parents[1]), "two.yaml", "180"]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    assert list((world / "two" / ".state").rglob("*.npz"))
    seen = []
    paint_sweep(two, callback=lambda progress: seen.append(progress.evaluations))
    assert seen[0] > 20  # it did not begin anew
    one, two = tree(world / "one"), tree(world / "two")
    same = lambda name: two[name] == one[name].replace(b"folder: one", b"folder: two")
    assert two.keys() == one.keys()
    assert [n for n in one if not same(n) and n not in ("sweep.json", "index.html")] == []
    assert two["index.html"].replace(b"two/cells", b"one/cells") == one["index.html"]


def test_ctrl_c_keeps_what_is_there(world):
    outcome, _ = paint_sweep(sweep_settings(), callback=lambda progress: progress.done >= 2)
    assert outcome.interrupted
    assert 2 <= outcome.done < 6
    assert paint_sweep(sweep_settings())[0].done == 6


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"size": 22}, "size is 22, was 24"),
        (
            {"axes": [AXES[0], {"content.weight": [0.1, 1.0, 11.0]}]},
            "sweep.axes.1.content.weight is [0.1, 1.0, 11",
        ),
        ({"axes": AXES[:1]}, "sweep.axes.1.content.weight is null, was [0.1"),
        ({"loss": {"convention": "notebook"}}, 'loss.convention is "notebook", was "gatys2016"'),
        ({"output": "x.jpg"}, 'output.image is "x.jpg"'),
    ],
)
def test_a_changed_config_does_not_mix_with_old_cells(world, changes, phrase):
    paint_sweep(sweep_settings(axes=AXES), shard=(1, 6))
    before = tree(world / "grid")
    with pytest.raises(OutputError) as caught:
        paint_sweep(sweep_settings(**changes))
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(world / "grid") == before


def test_other_pixels_or_weights_do_not_mix_either(world, random, narrow):
    from nst_jax.pretrained import files as weights

    paint_sweep(sweep_settings(), shard=(1, 6))
    kept = (world / "art.png").read_bytes()
    images.write(world / "art.png", np.float32(random.uniform(size=(25, 25, 3))))
    with pytest.raises(OutputError, match=r"style art\.png has other pixels"):
        paint_sweep(sweep_settings())
    (world / "art.png").write_bytes(kept)
    other = {name: {k: v * 2 for k, v in layer.items()} for name, layer in narrow.items()}
    weights.write(world / "narrow.h5", other, source="test", sha256="", licence="CC0")
    with pytest.raises(OutputError, match="the network is"):
        paint_sweep(sweep_settings())


def test_how_the_work_is_done_may_change():
    paint_sweep(sweep_settings(), shard=(1, 2))
    changed = config.load(
        base=as_dict(sweep_settings())
        | {"sweep": {"axes": AXES, "folder": "grid", "lanes": "vmap", "max_parallel": 2, "max_cells": 7}}
    )
    assert paint_sweep(changed)[0].done == 6


def test_a_foreign_folder_is_left_alone(world):
    foreign = world / "holiday"
    foreign.mkdir()
    (foreign / "sweep.json").write_text('{"brooms": 3}')
    (foreign / "photo.jpg").write_bytes(b"dear")
    before = tree(foreign)
    with pytest.raises(OutputError, match="holiday: is not the folder of a sweep"):
        paint_sweep(sweep_settings(folder="holiday"))
    assert tree(foreign) == before
    (world / "file").write_text("")
    with pytest.raises(OutputError, match="file: is a file"):
        paint_sweep(sweep_settings(folder="file"))
    with pytest.raises(OutputError, match="there is no folder gone"):
        paint_sweep(sweep_settings(folder="gone/grid"))
    (world / "empty").mkdir()
    assert paint_sweep(sweep_settings(folder="empty"))[0].done == 6


def test_a_broken_cell_is_painted_again(world):
    paint_sweep(sweep_settings())
    before = tree(world / "grid")
    (world / "grid" / "cells" / "0001.json").write_text('{"half": ')
    (world / "grid" / "cells" / "0003.png").unlink()
    (world / "grid" / "index.html").unlink()
    paint_sweep(sweep_settings())
    assert tree(world / "grid") == before


def test_pictures_of_several_shapes_styles_and_kinds(world, random):
    images.write(world / "tall.png", np.float32(random.uniform(size=(40, 30, 3))))
    images.write(world / "other.png", np.float32(random.uniform(size=(30, 20, 3))))
    axes = [{"content": ["photo.png", "tall.png"]}, {"style": ["art.png", "other.png"]}]
    outcome, _ = paint_sweep(sweep_settings(axes=axes, style={"fit": "aspect", "scale": 1.5}, output="x.jpg"))
    assert outcome.done == 4
    shapes = [images.read(f"grid/cells/{i:04d}.jpg").rgb.shape for i in range(4)]
    assert shapes == [(18, 24, 3)] * 2 + [(24, 18, 3)] * 2
    record = json.loads((world / "grid" / "cells" / "0002.json").read_text())
    assert record["settings"] == {"content": "tall", "style": "art"}
    base, _ = records.replayed("grid/cells/0003.jpg")
    assert (base["content"]["image"], base["style"]["image"]) == ("tall.png", "other.png")


def test_every_kind_of_axis_changes_the_picture():
    for key, values in {
        "seed": [1, 2],
        "init.noise": [0.2, 0.5],
        "init": ["content", "noise", "style", {"content": 1, "noise": 2}],
        "loss.total_variation": [0.0, 1e6],
        "style.layers": [["conv1_1"], ["conv2_1"]],
        "style.layers.conv1_1": [0, 1],
        "content.layers.conv2_2": [1, 1e8],
        "style.scale": [0.9, 1.5],
        "colour": ["style", "content", "matched"],
        "size": [22, 24],
        "solver.evaluations": [3, 6],
        "solver.learning_rate": [1.0, 3.0],
    }.items():
        kind = "adam" if key == "solver.learning_rate" else "lbfgs"
        changes = {"init": {"content": 1, "noise": 1}, "solver": {"evaluations": 4, "kind": kind}}
        name = key.replace(".", "_")
        paint_sweep(sweep_settings(axes={key: values}, folder=name, **changes))
        found = [images.read(f"{name}/cells/{i:04d}.png").rgb for i in range(len(values))]
        for i, a in enumerate(found):
            for b in found[:i]:
                assert a.shape != b.shape or (a != b).any(), key


def test_seeds_that_change_nothing_are_said():
    _, said = paint_sweep(sweep_settings(axes={"seed": [1, 2]}))
    assert "no cell begins with noise" in said[0]
    _, said = paint_sweep(sweep_settings(axes={"seed": [1, 2]}, init="noise", folder="other"))
    assert said == []
    texture = sweep_settings(axes={"seed": [1, 2]}, content={"weight": 0}, folder="texture")
    _, said = paint_sweep(texture)
    assert said == []


def test_an_image_with_alpha_keeps_it(world, random):
    from nst_jax.images import Picture

    alpha = np.float32(np.linspace(0, 1, 40)[None, :, None] * np.ones((30, 1, 1)))
    rgb = np.float32(random.uniform(size=(30, 40, 3)))
    images.write(world / "photo.png", rgb, alpha=alpha[..., 0])
    assert isinstance(images.read(world / "photo.png"), Picture)
    paint_sweep(sweep_settings(axes={"seed": [1]}))
    assert images.read("grid/cells/0000.png").alpha is not None


DEEP = {"image": "art.png", "layers": ["conv5_1"]}


@pytest.mark.parametrize(
    ("changes", "error", "phrase"),
    [
        ({"axes": []}, ConfigError, "nothing to sweep"),
        ({"axes": {"content": ["photo.png", "gone.png"]}}, ImageError, "gone.png"),
        ({"size": 12, "style": DEEP}, ImageError, "cell 0 .*conv5_1 needs at least 16"),
        ({"axes": {"style.scale": [1, 0.1]}, "style": DEEP}, ImageError,
         r"cell 1 \(style.scale 0.1\): the style image is"),
        ({"axes": {"content.weight": [0, 1]}, "style": {"image": "art.png", "weight": 0.0}}, Exception,
         r"cell 0 \(content.weight 0\): weights: all are zero"),
        ({"output": {"image": "x.png", "save_every": 2}}, ConfigError, "save_every"),
        ({"output": "x.gif"}, ImageError, "x.gif"),
        ({"content": {"image": None}}, ConfigError, "no content image given"),
        ({"axes": {"colour": ["style", "matched"]}, "content": {"image": None, "weight": 0}}, ConfigError,
         "colour: matched needs a content"),
    ],
)  # fmt: skip
def test_mistakes_cost_nothing(world, changes, error, phrase):
    before = tree(world)
    with pytest.raises(error, match=phrase):
        paint_sweep(sweep_settings(**changes))
    assert tree(world) == before


def test_cells_longer_than_their_format_are_refused(world):
    images.write("photo.png", np.zeros((2, 17_000, 3)))
    with pytest.raises(ImageError, match=r"\.webp holds at most 16383 pixels a side"):
        paint_sweep(sweep_settings(size=17_000, output="x.webp"))
    assert not (world / "grid").exists()


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "a/b", "1/0", "-1/2", "1/2/3", "1.5/2"])
def test_wrong_shards(text):
    with pytest.raises(ConfigError, match="--shard"):
        sweep.parse_shard(text)


def test_shards_divide_the_cells(world):
    assert sweep.parse_shard("2/3") == (2, 3)
    for i in (1, 2, 3, 4, 5, 6, 7):
        outcome, _ = paint_sweep(sweep_settings(), shard=(i, 7))
        assert outcome.done == min(i, 6)
    assert outcome.collection is not None


def test_a_run_with_axes_is_sent_to_the_sweep():
    with pytest.raises(ConfigError, match="nst-jax sweep"):
        run.run(sweep_settings(), say=lambda line: None)


def test_progress_tells_the_cells_of_a_shard():
    seen = []
    paint_sweep(sweep_settings(), shard=(1, 2), callback=seen.append)
    assert isinstance(seen[0], batch.GridProgress)
    assert (seen[-1].cells, seen[-1].done, seen[-1].evaluations) == (3, 3, 18)


def test_a_sweep_of_another_version_says_so(world):
    paint_sweep(sweep_settings(), shard=(1, 2))
    path = world / "grid" / "sweep.json"
    path.write_text(path.read_text().replace('"jax": "', '"jax": "0.0.'))
    _, said = paint_sweep(sweep_settings())
    assert any("cells already there may differ in the last digits: jax is" in line for line in said)
    assert not any("pixels" in line for line in said)


def test_states_are_not_left_behind(world):
    paint_sweep(sweep_settings(), callback=lambda progress: progress.evaluations >= 3)
    assert list((world / "grid" / ".state").rglob("*.npz"))
    paint_sweep(sweep_settings())
    assert not (world / "grid" / ".state").exists()


@pytest.mark.timeout(100)
def test_a_lock_is_not_waited_for_forever(world):
    paint_sweep(sweep_settings(), shard=(1, 6))
    (world / "grid" / ".state").mkdir()
    lock = filelock.FileLock(world / "grid" / ".state" / "1-of-1.lock")
    with lock, pytest.raises(OutputError, match="shard 1-of-1 is being painted"):
        paint_sweep(sweep_settings())


def test_exchanged_pictures_are_noticed(world):
    config = sweep_settings(axes={"style": ["art.png", "photo.png"]})
    paint_sweep(config)
    a, b = (world / "art.png").read_bytes(), (world / "photo.png").read_bytes()
    (world / "art.png").write_bytes(b)
    (world / "photo.png").write_bytes(a)
    with pytest.raises(OutputError, match="has other pixels"):
        paint_sweep(config)


def test_a_picture_that_cannot_be_read_is_painted_again(world):
    paint_sweep(sweep_settings())
    before = tree(world / "grid")
    (world / "grid" / "cells" / "0001.png").write_bytes(b"")
    paint_sweep(sweep_settings())
    assert tree(world / "grid") == before


@pytest.mark.parametrize(
    "left", [["cells"], [".state"], ["cells", ".state/1-of-1"], [".sweep.json.abc.partial"]]
)
def test_a_folder_of_work_that_was_killed_at_once_is_gone_on_with(world, left):
    for name in left:
        (world / "grid" / name).mkdir(parents=True)
    assert paint_sweep(sweep_settings(axes={"seed": [1]}))[0].done == 1


def test_words_may_change_and_are_shown(world):
    paint_sweep(sweep_settings(axes=[{"seed": [1, 2]}]))
    paint_sweep(sweep_settings(axes=[{"seed": [1, 2], "title": "luck", "labels": ["good", "bad"]}]))
    assert "luck" in (world / "grid" / "index.html").read_text()
    assert "luck" in (world / "grid" / "config.yaml").read_text()


def test_a_cell_too_small_for_the_layers_of_another_is_no_worse_for_it(world):
    axes = [{"size": [22, 12], "style.layers": [["conv5_1"], ["conv1_1"]]}, {"seed": [1]}]
    outcome, _ = paint_sweep(sweep_settings(axes=axes, content={"image": "photo.png", "layers": ["conv1_1"]}))
    assert outcome.collection.not_finite == ()
    axes = [{"style.scale": [1, 0.5], "style.layers": [["conv5_1"], ["conv1_1"]]}]
    outcome, _ = paint_sweep(sweep_settings(axes=axes, folder="scaled"))
    assert outcome.collection.not_finite == ()


def test_stopping_at_the_very_end_is_no_interruption():
    outcome, _ = paint_sweep(sweep_settings(), callback=lambda progress: progress.done == 6)
    assert not outcome.interrupted
    assert outcome.collection is not None


def test_each_picture_is_read_once_and_kept_small(world, random, monkeypatch):
    from nst_jax.runs import inputs

    names = [f"{i}.png" for i in range(6)]
    for name in names:
        images.write(world / name, np.float32(random.uniform(size=(60, 80, 3))))
    reads = []
    real = inputs.read_picture
    monkeypatch.setattr(inputs, "read_picture", lambda name, most: reads.append(name) or real(name, most))
    cells, found = sweep.check(sweep_settings(axes={"content": names[:3], "style": names[3:]}))
    assert sorted(reads) == names
    assert len(cells) == len(found) == 9
    assert {each.pictures.content.shape for each in found} == {(18, 24, 3)}
    assert len({id(each.pictures.content) for each in found}) == 3
    assert len({id(each.pictures.style[0]) for each in found}) == 3
    axes = {"colour": ["content", "matched"], "content": names[:2], "style.weight": [1.0, 2.0, 3.0]}
    _, found = sweep.check(sweep_settings(axes=axes, init=names[5]))
    assert len({id(each.pictures.style[0]) for each in found}) == 4
    assert len({id(each.pictures.content) for each in found}) == 4
    assert len({id(each.pictures.init) for each in found}) == 3
    assert len({id(each.pictures.colours) for each in found}) == 3  # one is None


def test_a_grid_of_style_and_semantic_weights_on_a_doodle(world):
    colours = np.zeros((24, 32, 3), np.float32)
    colours[:12] = 1
    images.write("doodle.png", colours)
    images.write("art.png", images.read("art.png").rgb[:24])
    images.write("art_sem.png", colours[:24, :25])
    style = {"image": "art.png", "kind": "patch", "layers": ["conv2_1"]}
    changes = {"style": style, "content": {"map": "doodle.png"}, "pyramid": {"levels": 2}}
    changes |= {"loss": {"convention": "champandard2016"}, "size": None}
    axes = [{"style.weight": [25.0, 250.0]}, {"semantic.weight": [0.0, 50.0]}]
    outcome, said = paint_sweep(sweep_settings(axes=axes, **changes))
    assert (outcome.cells, outcome.done, said) == (4, 4, [])
    one = config.load(base=records.replayed("grid/cells/0003.png")[0])
    run.run(one.with_values({"output.image": "alone.png"}))
    np.testing.assert_array_equal(images.read("alone.png").rgb, images.read("grid/cells/0003.png").rgb)


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_a_sweep_on_patches_interrupted_between_levels_goes_on(world, mode):
    style = {"image": "art.png", "kind": "patch", "layers": ["conv2_1"]}
    changes = {"style": style, "loss": {"convention": "champandard2016"}, "solver": {"evaluations": 10}}
    changes |= {"pyramid": {"levels": 2}, "patch": {"rematch": 4}}

    def chosen(folder):
        found = sweep_settings(axes=[{"style.weight": [25.0, 250.0]}], folder=folder, **changes)
        return found.with_values({"sweep.lanes": mode})

    paint_sweep(chosen("one"))
    evaluations = 13 if mode == "threads" else 26
    stop = paint_sweep(chosen("two"), callback=lambda p: p.evaluations >= evaluations)[0]
    assert stop.interrupted
    assert list((world / "two" / ".state").rglob("*.npz"))
    assert paint_sweep(chosen("two"))[0].done == 2
    for name in ("0000.png", "0001.png"):
        one, two = (images.read(f"{folder}/cells/{name}").rgb for folder in ("one", "two"))
        np.testing.assert_array_equal(one, two)


def test_matches_held_in_some_cells_only(world):
    style = {"image": "art.png", "kind": "patch", "layers": ["conv2_1"]}
    changes = {"style": style, "loss": {"convention": "champandard2016"}, "pyramid": {"levels": 1}}
    outcome, _ = paint_sweep(
        sweep_settings(axes=[{"patch.rematch": [3, 1]}, {"patch.size": [3, 2]}], **changes)
    )
    assert outcome.done == 4
    base, _ = records.replayed("grid/cells/0003.png")
    base["output"]["image"] = "alone.png"
    run.run(config.load(base=base), say=lambda line: None)
    np.testing.assert_array_equal(images.read("alone.png").rgb, images.read("grid/cells/0003.png").rgb)


def test_a_sweep_of_textures_and_one_of_reconstructions(world):
    texture = {"content": {"weight": 0.0}, "size": [30, 20], "init": "noise"}
    axes = [{"style.layers": [["conv1_1"], ["conv1_1", "conv2_1"]]}, {"style.crop": [None, [0, 0, 1, 0.8]]}]
    outcome, _ = paint_sweep(sweep_settings(axes, folder="textures", **texture))
    assert outcome.done == 4
    assert images.read("textures/cells/0003.png").rgb.shape == (20, 30, 3)
    reconstruction = {"style": {"weight": 0.0}}
    outcome, _ = paint_sweep(
        sweep_settings([{"content.layers": [["conv1_2"], ["conv2_2"]]}], "found", **reconstruction)
    )
    assert outcome.done == 2
    for picture in ("textures/cells/0003.png", "found/cells/0001.png"):
        base, _ = records.replayed(picture)
        run.run(config.load(base=base | {"output": "alone.png"}), say=lambda line: None)
        np.testing.assert_array_equal(images.read("alone.png").rgb, images.read(picture).rgb)
    page = (world / "textures" / "index.html").read_text()
    assert "--size 60x40" in page
    assert "art" in page


def test_stand_ins_are_marked(world, monkeypatch, random):
    small = np.float32(random.uniform(size=(20, 30, 3)))
    monkeypatch.setattr("nst_jax.samples.load", lambda name: small)
    axes = [{"style": ["work:the_scream", "art.png"]}]
    _, said = paint_sweep(sweep_settings(axes, content="work:neckarfront", images=None))
    assert [line.split(" (")[0] for line in said] == [
        "sample:coffee stands in for work:neckarfront",
        "sample:burning_sky stands in for work:the_scream",
    ]
    page = (world / "grid" / "index.html").read_text()
    assert "the_scream (stand-in)" in page
    images.write(world / "the_scream.png", small)
    monkeypatch.setenv("NST_JAX_IMAGES", str(world))
    with pytest.raises(OutputError, match="other settings"):
        paint_sweep(sweep_settings(axes, content="work:neckarfront"))

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from makers import paint, run_settings
from PIL import Image

from nst_jax import config, images
from nst_jax import files as nst_files
from nst_jax.errors import ConfigError, ImageError, NstError, OutputError
from nst_jax.images.colour import oklab
from nst_jax.runs import records
from nst_jax.runs import single as run
from nst_jax.transfer import checkpoints, memory


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_run_leaves_a_picture_and_its_folder(world):
    outcome = paint(output={"image": "out.png", "save_every": 2})
    assert outcome.status == "finished"
    assert images.read("out.png").rgb.shape == (18, 24, 3)
    assert names(world / "out.run") == [
        *("config.yaml", "loss.svg", "metrics.jsonl", "picture.png", "result.json"),
        *("step_000002.png", "step_000004.png", "step_000006.png", "steps.png"),
    ]
    assert (world / "out.png").read_bytes() == (world / "out.run" / "picture.png").read_bytes()
    lines = [json.loads(line) for line in (world / "out.run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["evaluations"] == 6
    assert lines[-1]["loss"] == pytest.approx(outcome.loss)
    assert yaml.safe_load((world / "out.run" / "config.yaml").read_text())["size"] == 24
    assert json.loads((world / "out.run" / "result.json").read_text())["result"]["status"] == "finished"
    assert not list(world.glob("*.partial"))


def test_the_strip_shows_the_steps_in_their_order(world):
    paint(output={"image": "out.png", "save_every": 2})
    strip = images.read(world / "out.run" / "steps.png").rgb
    last = images.resize(images.read(world / "out.run" / "step_000006.png").rgb, (192, 256))
    right = strip[:, -320:]  # the last of three, somewhere in the right part of the strip
    best = min(
        np.abs(right[top : top + 192, left : left + 256] - last).mean()
        for top in range(right.shape[0] - 192)
        for left in range(0, 64)
    )
    assert best < 0.02
    paint(output={"image": "out.png", "save_every": 1}, solver={"evaluations": 30})
    rows = images.read(world / "out.run" / "steps.png").rgb
    assert rows.shape[0] > strip.shape[0]
    paint()
    assert not (world / "out.run" / "steps.png").exists()


def test_the_picture_carries_its_record(world):
    paint(seed=7)
    record = json.loads(images.read_text("out.png")["nst_jax"])
    assert record["config"]["seed"] == 7
    assert {"jax", "jaxopt", "nst_jax", "python"} <= set(record["versions"])
    assert record["encoder"]["licence"] == "CC0"
    assert len(record["encoder"]["digest"]) == 64


def test_two_runs_are_the_same_bytes(world):
    paint(init="noise")
    first = (world / "out.png").read_bytes()
    paint(init="noise")
    assert (world / "out.png").read_bytes() == first


@pytest.mark.parametrize("name", ["out.png", "out.jpg"])
def test_replay_gives_the_same_picture(world, name):
    paint(output=name, init={"content": 0.5, "noise": 0.5}, seed=3)
    base, record = records.replayed(name)
    base["output"]["image"] = "again.png" if name == "out.png" else "again.jpg"
    again = config.load(base=base)
    said = []
    run.run(again, say=said.append, earlier=record)
    assert said == []
    np.testing.assert_array_equal(images.read(name).rgb, images.read(base["output"]["image"]).rgb)


def test_a_second_run_replaces_its_own_record(world):
    paint(output="out.jpg")
    paint(output="out.jpg", seed=4)
    assert records.replayed("out.jpg")[0]["seed"] == 4


def test_replay_notices_what_has_changed(world):
    paint()
    shutil.copy("art.png", "photo.png")
    base, record = records.replayed("out.png")
    record["versions"]["jax"] = "0.0.1"
    record["encoder"] |= {"digest": "0", "source": "other.h5"}
    base["output"]["image"] = "again.png"
    found = []
    run.run(config.load(base=base), say=found.append, earlier=record)
    assert any("jax is" in line and "was 0.0.1" in line for line in found)
    assert any("the content image has other pixels" in line for line in found)
    assert any("the network's weights are test, were other.h5" in line for line in found)


def test_alpha_is_put_back(world, random):
    alpha = np.zeros((30, 40), np.float32)
    alpha[:, 20:] = 1
    images.write(world / "photo.png", np.float32(random.uniform(size=(30, 40, 3))), alpha=alpha)
    paint(size=40)
    np.testing.assert_array_equal(images.read("out.png").alpha, alpha)


STYLES = {
    "gram": {"layers": ["conv1_1", "conv2_1"]},
    "patch": {"kind": "patch", "layers": ["conv2_1"]},
    "guided": {"kind": "guided_gram", "layers": ["conv1_1"]},
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("role", ["content", "style", "init"])
def test_colours_that_are_hidden_are_not_painted(world, random, style, role):
    """A lime cut-out gave a green sky."""
    more = {}
    if style == "guided":
        drawn("photo_sem.png", 30, 40)
        drawn("art_sem.png", 25, 25)
    if style == "patch":
        more = {"loss": {"convention": "champandard2016"}, "patch": {"rotations": [90]}}
    height, width = (25, 25) if role == "style" else (30, 40)  # as the other pictures: one program for all
    alpha = np.ones((height, width), np.float32)
    alpha[:, width // 2 :], alpha[: height // 4] = 0, 0.5
    colours = np.float32(random.uniform(size=(height, width, 3)))
    found = []
    for hidden in ((0.2, 1, 0), (0, 0, 0)):
        images.write("cut.png", np.where(alpha[:, :, None] > 0, colours, np.float32(hidden)), alpha=alpha)
        if style == "guided":
            drawn("cut_sem.png", height, width)
        image = {"image": "cut.png"} if role == "style" else {"image": "art.png"}
        paint(style=STYLES[style] | image, **({} if role == "style" else {role: "cut.png"}), **more)
        found.append(images.read("out.png"))
    np.testing.assert_array_equal(found[0].rgb, found[1].rgb)
    assert (found[0].alpha is not None) == (role == "content")
    assert not np.array_equal(found[0].rgb, colours)


def test_a_style_counts_where_it_can_be_seen(world, random):
    """Half a style behind nothing is the other half alone, but for what layers see across the edge."""
    colours = np.float32(random.uniform(size=(96, 192, 3)))
    colours[:, 96:] = (0.2, 1, 0)
    alpha = np.ones((96, 192), np.float32)
    images.write("whole.png", colours)
    images.write("half.png", colours[:, :96])
    alpha[:, 96:] = 0
    images.write("cut.png", colours, alpha=alpha)
    losses = {}
    for name in ("half.png", "cut.png", "whole.png"):
        style = {"image": name, "layers": ["conv1_1", "conv2_1"], "fit": "own"}
        losses[name] = paint(style=style, solver={"evaluations": 1}).initial_loss
    assert losses["cut.png"] == pytest.approx(losses["half.png"], rel=0.1)
    assert losses["whole.png"] != pytest.approx(losses["half.png"], rel=0.3)


def test_a_picture_that_is_transparent_everywhere_is_refused(world):
    images.write("glass.png", np.zeros((30, 30, 3)), alpha=np.zeros((30, 30)))
    for role in ("content", "style"):
        with pytest.raises(ImageError, match=f"the {role} image is transparent everywhere"):
            paint(**{role: "glass.png"})


def test_what_of_a_file_is_not_used_is_said_once(world):
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    said = []
    run.run(run_settings(content="film.gif", init="film.gif"), say=said.append)
    assert said == ["film.gif: has 2 frames; the first is used"]


def test_the_contents_colours_are_in_every_picture_of_a_run_and_of_its_replay(world):
    content = images.resize(images.read("photo.png").rgb / 2 + 0.25, (18, 24))
    images.write("photo.png", content)
    pyramid, output = {"levels": 2}, {"image": "out.png", "save_every": 4, "bits": 16}
    layers = {
        "style": {"image": "art.png", "layers": ["conv1_1"]},
        "content": {"image": "photo.png", "layers": ["conv2_2"]},
    }
    paint(colour="content", pyramid=pyramid, output=output, **layers)
    for name in ("out.png", "out.run/step_000004.png", "out.run/step_000008.png"):
        picture = images.read(name).rgb
        wanted = oklab(images.resize(images.read("photo.png").rgb, picture.shape[:2]))[..., 1:]
        assert np.median(np.abs(oklab(picture)[..., 1:] - wanted)) < 1e-4, name
    base, record = records.replayed("out.png")
    assert base["colour"] == "content"
    base["output"]["image"] = "again.png"
    run.run(config.load(base=base), say=lambda line: None, earlier=record)
    np.testing.assert_array_equal(images.read("out.png").rgb, images.read("again.png").rgb)


@pytest.mark.parametrize("name", ["out.png", "out.tif"])
def test_sixteen_bits(world, name):
    paint(output={"image": name, "bits": 16})
    values = images.read(name).rgb.astype(np.float64) * 65535
    np.testing.assert_allclose(values, values.round(), atol=0.01)
    assert (values.round() % 257 != 0).any()


def test_an_initial_image_from_a_file(world):
    images.write(world / "first.png", np.ones((10, 10, 3), np.float32))
    paint(init="first.png", solver={"evaluations": 1})
    np.testing.assert_allclose(images.read("out.png").rgb, 1, atol=1 / 255)


def test_samples_by_name(world):
    paint(content="sample:coffee", style="sample:stained_glass", size=32)
    assert images.read("out.png").rgb.shape == (21, 32, 3)


def test_an_interrupted_run_saves_what_there_is(world):
    outcome = run.run(run_settings(), callback=lambda p: True, say=lambda line: None)
    assert outcome.status == "interrupted"
    assert images.read("out.png").rgb.shape == (18, 24, 3)


LONG = {"init": "noise", "solver": {"evaluations": 20}, "pyramid": {"levels": 2}}
"""Two sizes."""

KILLED = """
import functools, os, signal, sys
sys.path.insert(0, sys.argv[1])
from makers import NARROW
from nst_jax import config
from nst_jax.pretrained import files as weights
from nst_jax.runs import single
from nst_jax.transfer import checkpoints
weights.read = functools.partial(weights.read, blocks=NARROW)
checkpoints.SAVE_SECONDS, checkpoints.SAVE_SHARE = 0.0, 1e9

def watch(progress):
    if progress.evaluations >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

single.run(config.load(sys.argv[2]), callback=watch)
"""


@pytest.mark.parametrize("evaluations", [9, 31])
@pytest.mark.parametrize("place", [None, "disk"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(world, place, evaluations):
    long = LONG | {"solver": {"evaluations": 20, "history_on": place}}
    output = {"image": "two.png", "save_every": 4}
    (world / "two.yaml").write_text(config.to_yaml(run_settings(**long, output=output)))
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), "two.yaml", str(evaluations)]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    seen, said = [], []
    settings = config.load(world / "two.yaml")
    run.run(settings, callback=lambda progress: seen.append(progress.evaluations), say=said.append)
    assert evaluations - 4 <= seen[0] <= evaluations  # killed before the state of the last look was kept
    assert f"going on after {seen[0] - 1} evaluations" in "".join(said)
    two = {path.name: path.read_bytes() for path in (world / "two.run").iterdir()} | {
        "out": (world / "two.png").read_bytes()
    }
    run.run(settings, say=lambda line: None)  # anew, for what is to be gone on with is gone
    again = {path.name: path.read_bytes() for path in (world / "two.run").iterdir()}
    again["out"] = (world / "two.png").read_bytes()
    assert two.keys() == again.keys()
    assert {name for name in two if two[name] != again[name]} <= {"result.json", "metrics.jsonl", "loss.svg"}
    lines = [json.loads(line)["evaluations"] for line in two["metrics.jsonl"].splitlines()]
    assert lines == sorted(set(lines))
    assert lines[-1] == 40
    assert not list(world.glob("*.partial"))


def interrupted(at=9, **changes):
    stop = lambda progress: progress.evaluations >= at
    return run.run(run_settings(**LONG | changes), callback=stop, say=lambda line: None)


def test_what_is_shown_of_an_interrupted_run_is_in_its_folder_while_it_waits(world):
    outcome = interrupted(output={"image": "out.png", "save_every": 4})
    assert outcome.goes_on
    assert images.read("out.png").rgb.shape == (18, 24, 3)
    assert {"step_000004.png", "metrics.jsonl", "picture.png"} <= set(names(world / "out.run"))
    assert names(world / "out.run.partial") == ["metrics.jsonl", *names(world / "out.run.partial")[1:]]
    assert "state.npz" in names(world / "out.run.partial")
    paint(**LONG, output={"image": "out.png", "save_every": 4})
    steps = [name for name in names(world / "out.run") if name.startswith("step_")]
    assert steps == [f"step_{number:06d}.png" for number in range(4, 41, 4)]
    assert not list(world.glob("*.partial"))


@pytest.mark.parametrize(
    "change", [{"seed": 3}, {"loss": {"total_variation": 1e-4}}, {"memory_limit": "2GiB"}]
)
def test_what_other_settings_or_pictures_made_is_not_gone_on_with(world, change):
    interrupted()
    seen, said = [], []
    settings = run_settings(**LONG | change)
    run.run(settings, callback=lambda progress: seen.append(progress.evaluations), say=said.append)
    assert seen[0] == 1
    assert "state.npz" in "".join(said)  # it was removed


def test_a_state_that_cannot_be_kept_costs_no_picture(world, monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)

    def full(*given):
        raise OutputError("state.npz: cannot be written: No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    said = []
    assert run.run(run_settings(**LONG), say=said.append).status == "finished"
    (note,) = (line for line in said if "No space left" in line)
    assert note.endswith("; should the run be killed, it begins anew")
    assert not interrupted().goes_on


def test_a_state_of_a_later_size_that_is_damaged_is_said(world):
    interrupted(at=30)
    path = world / "out.run.partial" / "state.npz"
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    del arrays["3"]
    np.savez(path, **arrays)
    with pytest.raises(OutputError, match=r"state\.npz: is damaged; remove it to begin anew"):
        paint(**LONG)
    path.unlink()
    assert paint(**LONG).status == "finished"


@pytest.mark.parametrize("change", [{"memory_limit": "1MiB"}, {"content": "nowhere.png"}, {"size": 3}])
def test_what_is_refused_leaves_what_another_run_may_go_on_with(world, change):
    interrupted()
    before = {path: path.read_bytes() for path in world.rglob("*.*") if path.is_file()}
    said = []
    with pytest.raises(NstError):
        run.run(run_settings(**LONG | change), say=said.append)
    assert {path: path.read_bytes() for path in before} == before
    assert not [line for line in said if "removed" in line]
    run.run(run_settings(**LONG), say=said.append)
    assert "going on after" in "".join(said)


def test_a_dry_run_says_where_a_smaller_size_takes_more(world, monkeypatch):
    settings = run_settings(pyramid={"levels": 3}, size=48, enlarge=True)
    few = memory.Estimate(2**30, 0, 0, 0, 0, held=2**30, usable=2**40)

    def fit(problem, shapes=None):
        if min(problem.content.shape[:2]) == 18:  # the second of three
            return problem, replace(few, features=2**30)
        return replace(problem, program=replace(problem.program, recompute=is_thrifty)), few

    monkeypatch.setattr(memory, "fit", fit)
    is_thrifty = (1, 2)
    assert run.plan(settings).splitlines()[-1] == "before       3.00 GiB  at most, at smaller sizes"
    is_thrifty = ()
    assert "before" not in run.plan(settings)


def test_a_shorter_run_leaves_no_steps_of_a_longer_one(world):
    paint(output={"image": "out.png", "save_every": 2})
    paint(output={"image": "out.png", "save_every": 3})
    assert [n for n in names(world / "out.run") if n.startswith("step_")] == [
        "step_000003.png",
        "step_000006.png",
    ]


def test_files_of_the_user_in_the_folder_stay(world):
    paint()
    (world / "out.run" / "notes.txt").write_text("mine")
    paint(seed=1)
    assert (world / "out.run" / "notes.txt").read_text() == "mine"


def test_a_failing_run_destroys_nothing(world, monkeypatch):
    paint(output={"image": "out.png", "save_every": 2})
    before = {p: p.read_bytes() for p in [world / "out.png", *(world / "out.run").iterdir()]}

    def boom(progress):
        if progress.evaluations >= 4:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        run.run(
            run_settings(seed=9, output={"image": "out.png", "save_every": 2}),
            callback=boom,
            say=lambda line: None,
        )
    assert {p: p.read_bytes() for p in before} == before
    paint(seed=9)  # what the failed run left is no hindrance
    assert not list(world.glob("*.partial"))


def test_no_space_left_in_the_middle(world, monkeypatch):
    paint()
    before = (world / "out.png").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nst_files.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        paint(seed=2)
    assert (world / "out.png").read_bytes() == before


def test_no_space_left_from_the_start(world, monkeypatch):
    usage = type(shutil.disk_usage("."))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(OutputError, match="no space left"):
        paint(size=500)
    assert not (world / "out.png").exists()
    assert not (world / "out.run.partial").exists()


def test_a_nan_keeps_the_first_image(world, narrow, monkeypatch):
    monkeypatch.setattr("nst_jax.transfer.seeing.content_loss", lambda F, P: F.sum() * np.nan)
    outcome = paint(seed=11, max_pixels=12345, size=23)  # settings of its own: a program compiled anew
    assert outcome.status == "not finite"
    assert "NaN" not in (world / "out.run" / "result.json").read_text()
    assert "Infinity" not in (world / "out.run" / "metrics.jsonl").read_text()
    assert images.read("out.png").rgb.shape[1] == 23


def overwrite(world):
    shutil.copy("photo.png", "out.png")
    return {"content": "out.png"}


def foreign(world):
    (world / "out.run").mkdir()
    (world / "out.run" / "diary.txt").write_text("dear diary")
    return {}


def foreign_json(world):
    (world / "out.json").write_text('{"mine": 1}')
    return {"output": "out.jpg"}


def overwrite_init(world):
    shutil.copy("photo.png", "out.png")
    return {"init": "out.png"}


def too_long(world):
    images.write("photo.png", np.zeros((2, 17_000, 3)))
    return {"size": 17_000, "output": "out.webp"}


DEEP = {"image": "art.png", "layers": ["conv5_1"]}
MISTAKES = {
    "missing": (ImageError, "gone.png", lambda w: {"content": "gone.png"}),
    "folder as image": (ImageError, "w: is a folder", lambda w: (w / "w").mkdir() or {"style": "w"}),
    "empty": (ImageError, "e.png", lambda w: (w / "e.png").write_bytes(b"") * 0 or {"style": "e.png"}),
    "text": (ImageError, "t.png", lambda w: (w / "t.png").write_text("hello") * 0 or {"style": "t.png"}),
    "init file": (ImageError, "gone.png", lambda w: {"init": "gone.png"}),
    "bomb": (ImageError, "1,?200 pixels.*max_pixels", lambda w: {"max_pixels": 1000}),
    "too small": (ImageError, "conv5_1 needs at least 16", lambda w: {"size": 10, "style": DEEP}),
    "sample": (ImageError, "coffee", lambda w: {"content": "sample:cofee"}),
    "no content": (ConfigError, "content.image: no content image", lambda w: {"content": {}}),
    "zero": (NstError, "weights: all are zero", lambda w: {"content": {"image": "photo.png", "weight": 0},
                                                         "style": {"image": "art.png", "weight": 0}}),
    "suffix": (ImageError, "gif", lambda w: {"output": "out.gif"}),
    "sides": (ImageError, r"out.webp: \.webp holds at most 16383 .* 17000 x 2; use \.png, \.jpg", too_long),
    "bits": (ImageError, "16", lambda w: {"output": {"image": "out.jpg", "bits": 16}}),
    "no folder": (OutputError, "the folder nowhere does not exist", lambda w: {"output": "nowhere/out.png"}),
    "output is folder": (OutputError, "is a folder", lambda w: (w / "d.png").mkdir() or {"output": "d.png"}),
    "weights": (NstError, "gone.h5", lambda w: {"weights": "gone.h5"}),
    "overwrite": (OutputError, "is an input", overwrite),
    "overwrite init": (OutputError, "is an input", overwrite_init),
    "foreign json": (OutputError, "out.json: is not of an earlier run", foreign_json),
    "foreign": (OutputError, "is not the folder of an earlier run", foreign),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_input_is_one_line_and_writes_nothing(world, mistake):
    kind, phrase, make = MISTAKES[mistake]
    changes = make(world)
    before = {p: p.read_bytes() for p in world.rglob("*") if p.is_file()}
    with pytest.raises(kind, match=phrase) as caught:
        paint(**changes)
    assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in world.rglob("*") if p.is_file()} == before
    assert not list(world.glob("*.partial"))


def test_folder_not_writable(world, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="is not writable"):
        paint()


# --- Patches and maps -----------------------------------------------------------------------------


def drawn(name, height, width):
    """Write a map of two labels, the upper half and the lower."""
    colours = np.zeros((height, width, 3), np.float32)
    colours[: height // 2] = (1, 0, 0)
    images.write(name, colours)


def patched(**changes):
    style = {"image": "art.png", "kind": "patch", "layers": ["conv2_1"]} | changes.pop("style", {})
    changes = {"pyramid": {"levels": 2}} | changes
    return run_settings(style=style, loss={"convention": "champandard2016"}, **changes)


def test_a_run_on_patches_with_maps_and_its_replay(world):
    drawn("photo_sem.png", 30, 40)
    drawn("art_sem.png", 25, 25)
    run.run(patched(), say=lambda line: None)
    assert images.read("out.png").rgb.shape == (18, 24, 3)
    lines = [json.loads(line) for line in (world / "out.run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["level"] for line in lines] == sorted(line["level"] for line in lines)
    assert lines[-1]["evaluations"] == 12
    base, record = records.replayed("out.png")
    assert {"content_map", "style_map"} <= set(record["inputs"])
    base["output"]["image"] = "again.png"
    run.run(config.load(base=base), say=lambda line: None, earlier=record)
    np.testing.assert_array_equal(images.read("out.png").rgb, images.read("again.png").rgb)


def test_a_doodle_needs_no_content(world):
    drawn("doodle.png", 20, 32)
    drawn("art_sem.png", 25, 25)
    said = []
    config_ = patched(content={"map": "doodle.png"}, size=None, pyramid={"levels": 1})
    outcome = run.run(config_, say=said.append)
    assert outcome.status == "finished"
    assert images.read("out.png").rgb.shape == (20, 32, 3)
    assert said == []


def test_a_map_is_not_overwritten(world):
    drawn("photo_sem.png", 30, 40)
    drawn("art_sem.png", 25, 25)
    with pytest.raises(OutputError, match="is an input of this run"):
        run.run(patched(output="photo_sem.png"))  # found beside photo.png

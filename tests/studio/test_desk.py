"""Desk, canvas and grid: what a page is told of runs, and what comes of what it asks."""

import io
import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from desks import at_work, settings, until
from PIL import Image

from nst_jax import cli, config, images
from nst_jax.errors import NstError
from nst_jax.runs import records, run_folder
from nst_jax.studio import canvas as canvases
from nst_jax.studio import compilations, desk
from nst_jax.studio.desk import Desk, begun_with

LONG = {"solver.evaluations": 1_000_000}


@pytest.fixture
def studio(world):
    with at_work() as found:
        yield found


def told(studio, run):
    """Return what a page that comes now is told of a run."""
    return next(data for name, data in studio.events({}, 0) if name == "run" and data["id"] == run)


def ended(studio, run):
    until(lambda: not (studio.canvases[run].is_under_way or studio.canvases[run].status == "waiting"))
    return told(studio, run)


def begun(studio, values=None):
    """Start a long run, and return its number once it paints."""
    run = studio.start(LONG | (values or {}))["run"]
    until(lambda: studio.canvases[run].status == "running")
    return run


def opened(data):
    return Image.open(io.BytesIO(data))


def pixels(name):
    return images.read(name).rgb


def replayed(name):
    """Replay a picture, and return the new one's name."""
    again = str(Path(name).with_name("again.png"))
    assert cli.run(["--replay", name, "--output", again]) == 0
    return again


def test_a_run_from_start_to_end(studio):
    run = studio.start({"style.strength": 0.7})["run"]
    found = ended(studio, run)
    assert (found["status"], found["evaluations"], found["budget"]) == ("finished", 6, 6)
    assert found["file"] == "studio/001.png"
    assert found["values"]["style.strength"] == 0.7
    assert found["size"] == [24, 18]
    assert found["title"] == "photo in the style of art"
    assert records.read_record(Path("studio/001.png"))["config"]["style"]["strength"] == 0.7
    picture, version = studio.picture(run, 0, 1)
    assert opened(picture).size == (24, 18)
    assert version == found["picture"]
    assert studio.picture(run, version, 0) is None
    assert opened(studio.shown(run, "content", 0)).size == (24, 18)
    assert opened(studio.shown(run, "small", 0)).size == (24, 18)
    assert studio.saved("001.png") == Path("studio/001.png")
    name, text = studio.config(run)
    assert name == "001.yaml"
    Path(name).write_bytes(text)
    assert config.load(name).style.strength == 0.7
    assert found["command"] == "nst-jax --replay studio/001.png"


def test_the_command_line_of_a_run_under_way_has_its_settings(studio):
    run = begun(studio, {"style.strength": 0.25, "colour": "content"})
    program, *words = shlex.split(told(studio, run)["command"])
    assert program == "nst-jax"
    assert "--strength" in words
    parsed = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        parsed[flag] = value
    assert (parsed["--strength"], parsed["--colour"], parsed["--evaluations"]) == (
        "0.25",
        "content",
        "1000000",
    )


def test_a_page_is_told_what_it_does_not_know_yet(studio):
    seen = {}
    assert [name for name, _ in studio.events(seen, 0)] == ["studio"]
    assert studio.events(seen, 0) == []
    run = studio.start({})["run"]
    ended(studio, run)
    until(lambda: studio.busy is None)
    points, names = [], set()
    while news := studio.events(seen, 0):
        for name, data in news:
            names.add(name)
            if name == "points":
                assert data["from"] == len(points)
                points += data["points"]
    assert names == {"studio", "run", "points"}
    assert [point["e"] for point in points] == sorted({point["e"] for point in points})
    assert points[-1]["e"] == 6
    assert set(points[0]) == {"e", "loss", "content", "style", "total_variation"}
    assert [
        point for name, data in studio.events({}, 0) if name == "points" for point in data["points"]
    ] == points


def test_sliders_act_on_the_next_step_and_compile_nothing(studio):
    run = begun(studio)
    canvas = studio.canvases[run]
    studio.act(run, "change", {"values": {"style.strength": 0.9}})
    until(lambda: len(canvas.steering.changes) == 1)
    until(lambda: canvas._facts["evaluations"] > canvas.steering.changes[0].evaluations + 3)
    compiled, before = compilations.count(), canvas._facts["evaluations"]
    studio.act(run, "change", {"values": {"style.strength": 0.1, "loss.total_variation": 2.0}})
    until(lambda: len(canvas.steering.changes) == 2)
    until(lambda: canvas._facts["evaluations"] > canvas.steering.changes[1].evaluations + 3)
    assert compilations.count() == compiled
    assert canvas.steering.changes[1].evaluations >= before
    assert told(studio, run)["values"]["style.strength"] == 0.1
    weights = canvas.steering.problem.weights
    assert weights.total_variation == 2.0
    studio.act(run, "stop", {})
    found = ended(studio, run)
    assert found["status"] == "interrupted"
    assert [each.get("stop", False) for each in found["changes"]] == [False, False, True]
    np.testing.assert_array_equal(pixels(replayed(found["file"])), pixels(found["file"]))


def test_pause_keep_restore_save_and_go_on(studio):
    run = begun(studio)
    studio.act(run, "keep", {})
    moment = told(studio, run)["moments"][-1]
    assert moment["why"] == "kept"
    studio.act(run, "change", {"values": {"style.scale": 0.8}})
    until(lambda: studio.canvases[run].steering.changes)
    studio.act(run, "pause", {})
    until(lambda: studio.canvases[run].steering.at_look(lambda look: True).result(60))
    assert told(studio, run)["status"] == "paused"
    at = told(studio, run)["evaluations"]
    saved = studio.act(run, "save", {})
    assert saved == {"file": f"studio/001_{at:06d}.png", "url": f"/files/001_{at:06d}.png"}
    assert studio.saved(saved["url"].rsplit("/", 1)[1]) == Path(saved["file"])
    assert told(studio, run)["evaluations"] == at
    version = told(studio, run)["picture"]
    studio.act(run, "restore", {"moment": moment["number"]})
    shown, _ = studio.picture(run, version, 60)
    assert opened(shown).tobytes() == opened(studio.shown(run, "moments", moment["number"])).tobytes()
    studio.act(run, "go-on", {})
    until(lambda: len(studio.canvases[run].steering.changes) == 2)
    found = told(studio, run)
    assert found["changes"][-1]["picture"] == moment["evaluations"]
    assert found["values"]["style.scale"] == 1.0
    studio.act(run, "stop", {})
    found = ended(studio, run)
    for name in (saved["file"], found["file"]):
        np.testing.assert_array_equal(pixels(replayed(name)), pixels(name))


def test_more_evaluations_while_it_goes_on_and_after(studio):
    run = begun(studio)
    assert studio.act(run, "more", {"evaluations": 50}) == {"run": run}
    until(lambda: told(studio, run)["budget"] == 1_000_050)
    studio.act(run, "stop", {})
    first = ended(studio, run)["file"]
    more = studio.act(run, "more", {"evaluations": 3})["run"]
    found = ended(studio, more)
    assert (more, found["evaluations"], found["file"]) == (run + 1, 3, "studio/002.png")
    assert records.read_record(Path(found["file"]))["config"]["init"] == first
    np.testing.assert_array_equal(pixels(replayed(found["file"])), pixels(found["file"]))
    for wrong in (0, "x", True, None, 1.5):
        with pytest.raises(NstError, match="evaluations: should be a whole number"):
            studio.act(more, "more", {"evaluations": wrong})


def test_a_branch_begins_with_a_moments_picture_and_settings(studio):
    run = begun(studio, {"style.strength": 0.3})
    studio.act(run, "keep", {})
    moment = told(studio, run)["moments"][-1]
    studio.act(run, "change", {"values": {"style.strength": 0.8}})
    branch = studio.act(run, "branch", {"moment": moment["number"], "values": {"colour": "matched"}})["run"]
    assert told(studio, branch)["status"] == "waiting"
    values = told(studio, branch)["values"]
    assert (values["style.strength"], values["colour"]) == (0.3, "matched")
    studio.canvases[branch].settings = studio.canvases[branch].settings.with_values({"solver.evaluations": 3})
    studio.act(run, "stop", {})
    found = ended(studio, branch)
    assert found["status"] == "finished"
    init = records.read_record(Path(found["file"]))["config"]["init"]
    assert init == f"studio/001_{moment['evaluations']:06d}.png"
    assert Path(init).exists()


def test_nine_around_some_settings(studio):
    run = studio.grid({"style.strength": 0.95, "style.scale": 0.8})["run"]
    found = ended(studio, run)
    assert (found["kind"], found["status"], len(found["cells"])) == ("grid", "finished", 9)
    assert [axis["title"] for axis in found["axes"]] == ["style.strength", "style.scale"]
    assert [(cell["row"], cell["column"]) for cell in found["cells"]] == [(i // 3, i % 3) for i in range(9)]
    assert found["cells"][5]["values"] == {"style.strength": 0.8, "style.scale": 1.2}
    assert {cell["status"] for cell in found["cells"]} == {"finished"}
    assert opened(studio.shown(run, "cells", 5)).size == (40, 30)  # the photograph is no larger
    with pytest.raises(NstError, match="a grid's pictures are in its folder"):
        studio.act(run, "save", {})
    assert (found["values"]["size"], found["values"]["style.strength"]) == (24, 0.95)  # not the small ones
    studio.start(found["cells"][5]["values"])


def test_a_grid_is_paused_and_stopped(studio):
    run = studio.grid({})["run"]
    until(lambda: studio.canvases[run].status == "running")
    with pytest.raises(NstError, match="may be paused or stopped"):
        studio.act(run, "change", {"values": {}})
    studio.act(run, "pause", {})
    assert told(studio, run)["status"] == "paused"
    studio.act(run, "stop", {})
    assert ended(studio, run)["status"] in ("interrupted", "finished")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 1}, None),
        ({"style.image": None}, "no style image given"),
        ({"content.image": "photo.png"}, "is not here any more"),
        ({"content.image": "/etc/passwd"}, "is not here any more"),
        ({"style.strength": 7}, "style.strength: should be"),
        ({"output.image": "x.png"}, "cannot be set here"),
    ],
)
def test_what_cannot_be_painted_is_said(studio, values, words):
    if words:
        with pytest.raises(NstError, match=words):
            studio.start(values)
        assert not studio.canvases
        return
    found = ended(studio, studio.start(values)["run"])
    assert found["status"] == "failed"
    assert "pixels at the size used" in found["error"]
    with pytest.raises(NstError, match="not under way"):
        studio.act(found["id"], "pause", {})
    assert ended(studio, studio.start({})["run"])["status"] == "finished"  # the studio lives on


def test_a_fault_of_the_program_costs_one_run_only(studio, monkeypatch, capsys):
    with monkeypatch.context() as world:
        world.setattr(desk.single, "run", lambda *given, **options: 1 / 0)
        found = ended(studio, studio.start({})["run"])
        assert "ZeroDivisionError" in found["error"]
        assert "Traceback" in capsys.readouterr().err
    assert ended(studio, studio.start({})["run"])["status"] == "finished"


def test_uploads_are_pictures_of_runs(studio):
    found = studio.upload("my dog.png", Path("photo.png").read_bytes())
    run = studio.start({"content.image": found["id"]})["run"]
    done = ended(studio, run)
    assert done["title"] == "my dog in the style of art"
    assert done["values"]["content.image"] == found["id"]
    assert studio.about()["values"]["content.image"].startswith("upload:")  # of the settings it began with
    assert opened(studio.thumbnail(studio.about()["values"]["content.image"])).size == (40, 30)
    assert opened(studio.thumbnail("sample:coffee")).width == 320
    for name in ("sample:nothing", "upload:123456123456", "photo.png"):
        with pytest.raises(LookupError):
            studio.thumbnail(name)


def test_runs_wait_in_a_queue_and_may_be_taken_from_it(studio):
    first = begun(studio)
    second, third = (studio.start({})["run"] for _ in range(2))
    assert [told(studio, run)["status"] for run in (second, third)] == ["waiting"] * 2
    studio.act(second, "remove", {})
    assert list(studio.canvases) == [first, third]
    with pytest.raises(LookupError):
        studio.act(second, "remove", {})
    with pytest.raises(NstError, match="stop it first"):
        studio.act(first, "remove", {})
    studio.act(first, "stop", {})
    assert ended(studio, third)["status"] == "finished"
    assert not Path("studio/002.png").exists()


def test_pictures_of_earlier_sessions_are_left_alone(studio):
    Path("studio").mkdir(exist_ok=True)
    Path("studio/041.png").write_bytes(b"mine")
    assert ended(studio, studio.start({})["run"])["file"] == "studio/042.png"
    assert Path("studio/041.png").read_bytes() == b"mine"


def test_closing_saves_the_picture(world):
    found = Desk(settings(), Path("studio"))
    worker = threading.Thread(target=found.work, args=(0.01,))
    worker.start()
    run = begun(found)
    waiting = found.start({})["run"]
    found.close()
    worker.join(120)
    assert told(found, run)["status"] == "interrupted"
    assert Path("studio/001.png").exists()
    assert told(found, waiting)["status"] == "waiting"
    assert dict(found.events({}, 0))["studio"]["is_over"]
    with pytest.raises(NstError, match="nothing else is begun here"):
        found.start({})
    assert not run_folder.folder_of(Path("studio/001.png")).with_suffix(".run.partial").exists()


def test_moments_are_bounded(studio, monkeypatch):
    monkeypatch.setattr(canvases, "MOST_MOMENTS", 3)
    run = begun(studio)
    for _ in range(5):
        studio.act(run, "keep", {})
    found = told(studio, run)["moments"]
    assert [each["why"] for each in found] == ["kept"] * 3
    with pytest.raises(LookupError, match="no such moment"):
        studio.shown(run, "moments", 1)
    monkeypatch.setattr(desk, "MOMENTS_BYTES", 0)
    studio.act(run, "stop", {})
    until(lambda: studio.busy is None)
    assert told(studio, run)["moments"] == []


def test_a_long_curve_is_thinned_out(studio, monkeypatch):
    monkeypatch.setattr(canvases, "MOST_POINTS", 10)
    run = studio.start({"solver.evaluations": 60})["run"]
    canvas = studio.canvases[run]
    canvas.steering.is_due = lambda evaluations: True
    ended(studio, run)
    points, count = canvas.points(0)
    assert len(points) == count <= 10
    assert canvas.thinned > 1
    assert points[-1]["e"] == 60 or points[-1]["e"] >= 56


def test_what_a_page_begins_with():
    found = begun_with(config.load())
    assert found.content.image.startswith("sample:")
    assert (found.size, found.weights) == (256, "compact")
    given = begun_with(config.load(base={"content": "a.png", "size": 99, "weights": "vgg19"}))
    assert (given.content.image, given.size, given.weights) == ("a.png", 99, "vgg19")
    texture = begun_with(config.load(base={"content": {"weight": 0}, "style": "b.png"}))
    assert texture.content.image is None


def test_nothing_is_begun_at_the_page_of_a_command(world):
    found = Desk(settings(), Path(), "run")
    for begin in (found.start, found.grid):
        with pytest.raises(NstError, match="nothing else is begun here"):
            begin({})
    with pytest.raises(NstError):
        found.upload("x.png", b"")

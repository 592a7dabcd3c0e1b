import json
import os
import shutil

import numpy as np
import pytest
from makers import paint, run_settings

from nst_jax import images
from nst_jax.errors import NstError, OutputError
from nst_jax.files import LockedError
from nst_jax.runs import records, run_folder, single


def everything(world):
    return {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}


def quiet(line):
    pass


# --- One run at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["out.png", "out.jpg", "./out.tif"])
def test_a_second_run_says_at_once_who_is_at_it(world, other):
    """All have the folder out.run."""
    with run_folder.claimed(world / "out.png", quiet):
        with pytest.raises(LockedError, match=rf"another run.*: process {os.getpid()} on .+ since 20\d\d-"):
            paint(output=other)
        assert run_folder.free_name(world / "out.png") == world / "out-2.png"
    assert run_folder.free_name(world / "out.png") == world / "out.png"
    paint(output=other)
    assert not list(world.glob("*.partial"))


def test_a_lock_of_a_dead_process_blocks_nobody(world):
    (world / "out.run.partial").mkdir()
    (world / "out.run.partial" / "lock").touch()
    (world / "out.run.partial" / "lock.owner").write_text("process 1 on mars since 1976")
    paint()
    assert not list(world.glob("*.partial"))


@pytest.mark.parametrize("bad", [{"content": "gone.png"}, {"weights": "gone.h5"}, {"size": 1}])
def test_bad_input_keeps_what_a_killed_run_left(world, bad):
    (world / "out.run.partial").mkdir()
    (world / "out.run.partial" / "step_000100.png").write_bytes(b"left")
    with pytest.raises(NstError):
        paint(**bad)
    assert (world / "out.run.partial" / "step_000100.png").read_bytes() == b"left"
    said = []
    single.run(run_settings(), say=said.append)
    assert said == ["removed from out.run.partial what a run that did not end had left: step_000100.png"]


# --- Nothing that is read is written --------------------------------------------------------------


def link(kind):
    def make(source, target):
        {"symbolic": os.symlink, "hard": os.link}[kind](os.path.abspath(source), target)
        return target

    return make


SPELLINGS = {
    "as it is": lambda name: name,
    "relative": lambda name: f"../{os.path.basename(os.getcwd())}/./{name}",
    "absolute": os.path.abspath,
    "symbolic link": lambda name: link("symbolic")(name, "link.png"),
    "hard link": lambda name: link("hard")(name, "hard.png"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("role", ["content", "style", "init"])
@pytest.mark.parametrize("file", ["out.png", "out.run/step_000002.png", "out.run/picture.png"])
def test_no_picture_that_is_read_is_written_or_removed(world, spelling, role, file):
    paint(output={"image": "out.png", "save_every": 2})
    given = SPELLINGS[spelling](file)
    before = everything(world)
    with pytest.raises(OutputError, match="is an input of this run and would be overwritten"):
        paint(**{role: given})
    assert everything(world) == before


@pytest.mark.parametrize("role", ["weights", "environment", "reads"])
def test_no_other_file_that_is_read_is_written(world, role, monkeypatch):
    paint()
    shutil.copy("narrow.h5", "out.run/loss.svg")
    given = {"weights": "out.run/loss.svg"} if role == "weights" else {}
    if role == "environment":
        monkeypatch.setenv("NST_JAX_WEIGHTS", "out.run/loss.svg")
    reads = [world / "out.run" / "config.yaml"] if role == "reads" else []
    before = everything(world)
    with pytest.raises(OutputError, match="is an input of this run"):
        single.run(run_settings(**given), say=quiet, reads=reads)
    assert everything(world) == before


def test_an_input_in_the_folder_that_no_run_writes_is_fine(world):
    paint()
    shutil.copy("art.png", "out.run/mine.png")
    before = (world / "out.run" / "mine.png").read_bytes()
    paint(style="out.run/mine.png")
    assert (world / "out.run" / "mine.png").read_bytes() == before


# --- What goes, and what stays --------------------------------------------------------------------


def test_only_what_the_run_before_listed_goes_and_it_is_said(world):
    paint(output={"image": "out.png", "save_every": 2})
    for name in ("step_000099.png", "step_2.png", "notes.txt"):
        (world / "out.run" / name).write_text("mine")
    said = []
    single.run(run_settings(), say=said.append)
    assert said == [
        "removed from out.run what the run before had left: step_000002.png, step_000004.png, "
        "step_000006.png, steps.png"
    ]
    mine = sorted(path.name for path in (world / "out.run").iterdir() if path.read_bytes() == b"mine")
    assert mine == ["notes.txt", "step_000099.png", "step_2.png"]


def test_a_run_with_another_output_removes_nothing(world):
    paint(output={"image": "out.jpg", "save_every": 2})
    paint(output="out.png")
    assert (world / "out.run" / "picture.jpg").exists()
    assert (world / "out.run" / "step_000002.jpg").exists()


def test_a_list_that_names_files_elsewhere_is_not_believed(world):
    paint()
    record = json.loads((world / "out.run" / "result.json").read_text())
    record["files"] += ["../photo.png", "/etc/passwd", "sub/step_000001.png"]
    (world / "out.run" / "result.json").write_text(json.dumps(record))
    paint()
    assert (world / "photo.png").exists()


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        os.fsdecode(b"\xe9\xff.png"),
        "\u2603 caf\u00e9.jpg",
        "two\nlines.png",
        "\x1b[31mred\x07.tif",
        "<&'\".png",
        "a" * 236 + ".png",
        "-rf.png",
        " .png",
        "%s {name}.png",
    ],
)
def test_every_name_that_the_system_can_have_works(world, name):
    paint(output={"image": name, "save_every": 3})
    assert images.read(name).rgb.shape == (18, 24, 3)
    folder = world / f"{name.rpartition('.')[0]}.run"
    assert (folder / "loss.svg").read_bytes().decode().startswith("<svg")
    assert json.loads((folder / "result.json").read_text())["config"]["output"]["image"] == name
    assert not list(world.glob("*.partial"))


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "a" * 300 + ".png", "nul\0.png", "x/" * 3000 + "a.png"])
def test_other_names_are_refused_before_the_work(world, name):
    with pytest.raises(OutputError, match=r"cannot be written|does not exist"):
        single.run(run_settings(output=name), callback=lambda progress: pytest.fail("it began"), say=quiet)
    assert sorted(path.name for path in world.iterdir()) == ["art.png", "narrow.h5", "photo.png"]


def test_a_picture_is_written_through_a_link(world):
    (world / "elsewhere").mkdir()
    (world / "elsewhere" / "real.png").write_bytes(b"old")
    (world / "out.png").symlink_to("elsewhere/real.png")
    paint()
    assert (world / "out.png").is_symlink()
    assert images.read(world / "elsewhere" / "real.png").rgb.shape == (18, 24, 3)


# --- Trouble in the middle ------------------------------------------------------------------------


def broken_by(world, evaluations, trouble):
    """Paint, and let something happen to the file system after some evaluations."""

    def watch(progress):
        if progress.evaluations == evaluations:
            trouble()

    single.run(run_settings(output={"image": "sub/out.png", "save_every": 2}), callback=watch, say=quiet)


def test_a_folder_that_vanishes_costs_no_picture(world, monkeypatch):
    (world / "sub").mkdir()
    (world / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(world / "tmp"))
    with pytest.raises(OutputError, match=r"the picture is in .*tmp/nst-jax-\w+\.png") as caught:
        broken_by(world, 2, lambda: shutil.rmtree(world / "sub"))
    assert "\n" not in str(caught.value)
    (place,) = (world / "tmp").iterdir()
    assert images.read(place).rgb.shape == (18, 24, 3)
    assert json.loads(images.read_text(place)["nst_jax"])["config"]["size"] == 24


def test_a_folder_in_place_of_the_picture_costs_no_picture(world):
    (world / "sub").mkdir()
    with pytest.raises(OutputError, match=r"the picture is in sub/nst-jax-\w+\.png"):
        broken_by(world, 2, lambda: (world / "sub" / "out.png").mkdir())


def test_a_workshop_that_vanishes_costs_only_its_files(world):
    (world / "sub").mkdir()
    with pytest.raises(OutputError, match=r"the picture is in sub/out\.png"):
        broken_by(world, 2, lambda: shutil.rmtree(world / "sub" / "out.run.partial"))
    assert images.read(world / "sub" / "out.png").rgb.shape == (18, 24, 3)


def test_a_file_in_place_of_the_folder_costs_only_what_goes_there(world):
    (world / "sub").mkdir()
    with pytest.raises(OutputError, match=r"out\.run: cannot be written: .*the picture is in sub/out\.png"):
        broken_by(world, 2, (world / "sub" / "out.run").touch)


@pytest.fixture
def written(monkeypatch):
    """The names of pictures in the order in which they are encoded."""
    names, write = [], images.write

    def spy(path, *arguments, **options):
        names.append(path.name)
        write(path, *arguments, **options)

    monkeypatch.setattr(images, "write", spy)
    return names


def test_a_picture_is_encoded_once_and_copied(world, written):
    paint()
    assert written == ["picture.png"]
    assert (world / "out.png").read_bytes() == (world / "out.run" / "picture.png").read_bytes()


def test_a_picture_that_cannot_be_copied_is_encoded_again(world, written, monkeypatch):
    def broken(source, path):
        raise OutputError("a read error")

    monkeypatch.setattr(run_folder, "copied", broken)
    paint()
    assert written == ["picture.png", "out.png"]
    assert (world / "out.png").read_bytes() == (world / "out.run" / "picture.png").read_bytes()


@pytest.mark.parametrize("trouble", ["", "nothing is moved", "one is left"])
def test_no_picture_of_an_earlier_run_is_taken_for_this_ones(world, monkeypatch, trouble):
    paint(seed=3, init="noise")
    wanted = images.read("out.png").rgb
    paint(seed=4, init="noise")
    assert not np.array_equal(images.read("out.png").rgb, wanted)
    write = records.write

    def failing(path, rgb, **options):
        if path.name == "picture.png":
            if trouble == "one is left":
                shutil.copy("out.png", path)
            raise OutputError("a bad block")
        write(path, rgb, **options)

    monkeypatch.setattr(records, "write", failing)
    if trouble == "nothing is moved":
        monkeypatch.setattr(run_folder.Workshop, "_settle", lambda workshop, goes_on: None)
    with pytest.raises(OutputError, match=r"a bad block; the picture is in out\.png"):
        paint(seed=3, init="noise")
    np.testing.assert_array_equal(images.read("out.png").rgb, wanted)


def test_a_picture_that_did_not_get_into_the_folder_is_copied_all_the_same(world, written, monkeypatch):
    def stuck(workshop, goes_on):
        raise OSError("stuck")

    monkeypatch.setattr(run_folder.Workshop, "_settle", stuck)
    with pytest.raises(OutputError, match=r"the picture is in out\.png"):
        paint()
    assert written == ["picture.png"]
    assert images.read("out.png").rgb.shape == (18, 24, 3)


def test_a_bug_in_what_goes_beside_the_picture_costs_no_picture(world, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(single, "loss_curve", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        paint()
    assert np.isfinite(images.read("out.png").rgb).all()

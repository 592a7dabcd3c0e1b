"""Batches of small photographs on a narrow network; what a picture should be, single runs say."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
from makers import run_settings, shallow

from nst_jax import config, images
from nst_jax.errors import ConfigError, ImageError, NstError, OutputError
from nst_jax.runs import batch, batch_files, single
from nst_jax.transfer import batch as grids
from nst_jax.transfer import program

pytestmark = pytest.mark.usefixtures("photos")

PIXELS = {"pyramid": {"variables": "pixels"}}
"""What is optimised so that pictures on a canvas come out as they do alone."""

SIZES = {"a.png": (30, 40), "b.png": (40, 30), "c.png": (30, 40)}


@pytest.fixture
def photos(world, random):
    """A folder of three photographs of two sizes, and two styles."""
    (world / "photos").mkdir()
    for name, size in SIZES.items():
        images.write(world / "photos" / name, np.float32(random.uniform(size=(*size, 3))))
    images.write(world / "more.png", np.float32(random.uniform(size=(20, 30, 3))))


def settings(**changes):
    data = {"style": "art.png", "size": 24, "network": {"normalised": False}, "solver": {"evaluations": 6}}
    return config.load(base=shallow({"content": {}} | data | changes))


def paint(to="out", *, paths=("photos",), mix=False, callback=lambda progress: None, **changes):
    said = []
    files = batch.photographs(paths)
    outcome = batch.run(settings(**changes), files, to, mix=mix, say=said.append, callback=callback)
    return outcome, said


def names(folder="out"):
    return sorted(path.name for path in Path(folder).iterdir())


def alone(content, style, **changes):
    """Return the picture of a single run."""
    about = run_settings(content=content, style=style, output="alone.png", **changes)
    single.run(about, say=lambda line: None)
    return images.read("alone.png").rgb


def test_each_picture_is_that_of_a_single_run():
    outcome, _ = paint(style={"image": ["art.png", "more.png"]}, **PIXELS)
    assert names() == [f"{photo}_{style}.png" for photo in "abc" for style in ("art", "more")]
    assert (len(outcome.painted), outcome.skipped, outcome.faults, outcome.left) == (6, (), (), 0)
    for photo, style in (("a", "more"), ("b", "art")):
        expected = alone(f"photos/{photo}.png", f"{style}.png", **PIXELS)
        np.testing.assert_allclose(images.read(f"out/{photo}_{style}.png").rgb, expected, atol=2 / 255)


def test_several_styles_can_be_mixed():
    both = {"image": ["art.png", "more.png"], "shares": [1, 3]}
    paint("out/{style}_{name}.png", paths=["photos/a.png"], mix=True, style=both)
    expected = alone("photos/a.png", both)
    np.testing.assert_array_equal(images.read("out/art+more_a.png").rgb, expected)


@pytest.mark.parametrize(
    ("padding", "groups"),
    [("zero", [[(18, 24), (24, 18), (18, 24)]]), ("replicate", [[(18, 24)] * 2, [(24, 18)]])],
)
def test_photographs_of_nearly_one_size_share_a_program_if_they_can(monkeypatch, padding, groups):
    real, seen = grids.run, []

    def watched(problems, **options):
        seen.append([problem.content.shape[:2] for problem in problems.values()])
        return real(problems, **options)

    monkeypatch.setattr(grids, "run", watched)
    program.forget_compiled()
    paint(network={"padding": padding, "normalised": False})
    assert seen == groups
    assert program._compiled.cache_info().misses == len(groups)


def test_thirty_sizes_need_no_more_than_four_programs(world, random):
    for name in SIZES:
        (world / "photos" / name).unlink()
    for number in range(30):
        size = 20 + 2 * number, 78 - number
        images.write(world / f"photos/{number}.png", np.float32(random.uniform(size=(*size, 3))))
    program.forget_compiled()
    outcome, _ = paint(size=80, solver={"evaluations": 2})
    assert (len(outcome.painted), outcome.faults) == (30, ())
    assert program._compiled.cache_info().misses <= 4
    for number in (0, 29):
        wanted = images.read(f"photos/{number}.png").rgb.shape
        assert images.read(f"out/{number}.png").rgb.shape == wanted


def test_a_picture_is_the_same_however_often_the_work_is_interrupted():
    paint("whole")
    counts = []

    def stop(progress):
        counts.append(progress.done)
        return progress.done == 1

    while paint("parts", callback=stop)[0].left:
        pass
    for name in SIZES:
        np.testing.assert_array_equal(images.read(f"parts/{name}").rgb, images.read(f"whole/{name}").rgb)


def test_what_is_wrong_with_a_photograph_is_its_own_matter(world):
    folder = world / "photos"
    (folder / "text.jpg").write_text("no picture")
    whole = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    images.write(folder / "tiny.png", np.zeros((1, 1, 3), np.float32))
    outcome, _ = paint()
    assert names() == ["a.png", "b.png", "c.png"]
    assert [fault.split(": ")[0] for fault in sorted(outcome.faults)] == [
        "photos/cut.png",
        "photos/text.jpg",
        "photos/tiny.png",
    ]
    assert not any("\n" in fault for fault in outcome.faults)


def test_what_does_not_fit_in_memory_is_painted_alone_or_not_at_all(monkeypatch):
    real, tried = grids.run, []

    def short(problems, **options):
        tried.append(len(problems))
        if len(problems) > 1 or problems[0].content.shape[0] == 24:
            raise NstError("does not fit in memory")
        return real(problems, **options)

    monkeypatch.setattr(grids, "run", short)
    outcome, _ = paint()
    assert (names(), tried) == (["a.png", "c.png"], [3, 1, 1, 1])
    assert outcome.faults == ("photos/b.png: does not fit in memory",)


def test_a_loss_that_is_not_finite_writes_nothing(exploding):
    outcome, _ = paint(style={"image": "art.png", "weight": exploding})
    assert (names(), len(outcome.faults), outcome.left) == ([], 3, 0)
    assert "no finite number" in outcome.faults[0]


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_what_is_done_is_told_by_content_and_settings(world, random, ending):
    pattern = f"out/{{name}}.{ending}"
    paint(pattern)
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    outcome, said = paint(pattern)
    assert (outcome.painted, len(outcome.skipped)) == ((), 3)
    assert "3 of 3 are done already" in said
    shutil.move("photos", "elsewhere")  # what files are called is of no matter, their pixels are
    shutil.copy("art.png", "same.png")
    images.write("elsewhere/b.png", np.float32(random.uniform(size=(40, 30, 3))))
    outcome, _ = paint(pattern, paths=["elsewhere"], style={"image": "same.png"})
    assert outcome.painted == (Path(f"out/b.{ending}"),)
    assert {name for name in before if (world / "out" / name).read_bytes() != before[name]} == {
        path.name for path in Path("out").glob("b.*")
    }
    outcome, _ = paint(pattern, paths=["elsewhere"], solver={"evaluations": 7})
    assert len(outcome.painted) == 3
    if ending == "jpg":
        Path("out/a.json").unlink()
        outcome, _ = paint(pattern, paths=["elsewhere"], solver={"evaluations": 7})
        assert outcome.painted == (Path("out/a.jpg"),)


@pytest.mark.parametrize(
    "change", [{"result": {"status": "interrupted"}}, {"changes": [{"evaluations": 2}]}, {"versions": {}}]
)
def test_pictures_that_were_made_otherwise_are_painted_anew(change):
    pattern, paths = "out/{name}.jpg", ["photos/a.png"]
    paint(pattern, paths=paths)
    record = json.loads(Path("out/a.json").read_text())
    Path("out/a.json").write_text(json.dumps(record | change))
    assert len(paint(pattern, paths=paths)[0].painted) == 1
    assert json.loads(Path("out/a.json").read_text()) == record


@pytest.mark.parametrize(
    ("output", "changes", "phrase"),
    [
        ("out/{style}.png", {}, "would be written twice, for photos/a.png"),
        ("out/{nom}.png", {}, "no {nom}; allowed: {name}, {style}"),
        ("out/{name!r}.png", {}, "allowed: {name}, {style}"),
        ("out/{name.png", {}, "braces"),
        ("out/{name}", {}, "no ending"),
        ("out/{name}.bmp", {}, "not an image format"),
        ("photos", {}, "an input of this batch"),
        ("art.png", {}, "would be written"),
        ("more.png/out", {}, "cannot be made"),
        ("linked", {}, "an input of this batch"),
        ("theirs/{name}.jpg", {}, "theirs/a.json: is not the record of a run"),
        ("out", {"style": "photos/text.jpg"}, "no such file"),
        ("out", {"style": {"image": ["art.png", "art.png"]}}, "written twice"),
        ("out", {"style": {"image": "art.png", "shares": [1, 2]}}, "--mix"),
        ("out", {"style": {"image": "art.png", "weight": 0}, "content": {"weight": 0}}, "all are zero"),
        ("out", {"content": {"keep": "more.png"}}, "is of one picture"),
        ("out", {"output": {"save_every": 2}}, "save_every"),
        ("out", {"sweep": {"axes": [{"seed": [1, 2]}]}}, "not swept"),
        ("out/{name}.jpg", {"output": {"bits": 16}}, "8 bits"),
    ],
)
def test_mistakes_are_refused_before_any_work(world, monkeypatch, output, changes, phrase):
    for name in ("linked", "theirs"):
        (world / name).mkdir()
    os.link("photos/a.png", "linked/c.png")
    (world / "theirs" / "a.json").write_text("{}")
    before = {path: path.read_bytes() for path in world.rglob("*") if path.is_file()}
    monkeypatch.setattr(grids, "run", lambda *given, **options: pytest.fail("painted"))
    with pytest.raises((ConfigError, OutputError, ImageError), match=phrase.replace("{", "\\{")) as caught:
        paint(output, **changes)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in world.rglob("*") if path.is_file()} == before


def test_two_photographs_of_one_name_are_refused(world):
    images.write(world / "photos" / "a.jpg", np.full((30, 40, 3), 0.5, np.float32))
    with pytest.raises(OutputError, match=r"written twice, for photos/a\.jpg .* for photos/a\.png"):
        paint()


def test_photographs_of_paths(world):
    folder = world / "many"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("10.jpg", "2.JPG", ".no.png", "notes.txt", "sub/1.tif", ".hidden/1.png"):
        (folder / name).write_text("")
    assert batch.photographs(["many"]) == ["many/2.JPG", "many/10.jpg"]
    assert batch.photographs(["many"], recursive=True) == ["many/2.JPG", "many/10.jpg", "many/sub/1.tif"]
    given = ["many/notes.txt", "many", "./many/10.jpg", "sample:coffee"]
    assert batch.photographs(given) == ["many/notes.txt", "many/2.JPG", "many/10.jpg", "sample:coffee"]
    for path, phrase in (
        ("none", "no such file or folder"),
        ("many/.hidden/x", "no such"),
        ("void", "no pict"),
    ):
        (world / "void").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=phrase):
            batch.photographs([path])


def test_names_stay_as_they_are(world):
    odd = "a {style} {\n.é"
    shutil.copy("photos/a.png", f"photos/{odd}.png")
    (world / "out {x}").mkdir()
    paint("out {x}", paths=[f"photos/{odd}.png"])
    assert names("out {x}") == [f"{odd}.png"]


def test_pictures_beside_their_photographs_are_no_photographs():
    pattern = "photos/{name}_painted.png"
    paint(pattern)
    outcome, _ = paint(pattern)
    assert (len(outcome.skipped), len(names("photos"))) == (3, 6)


def test_ctrl_c_keeps_what_is_done_and_the_same_call_goes_on():
    outcome, _ = paint(callback=lambda progress: progress.done >= 1, **{"sweep": {"max_parallel": 1}})
    assert (len(outcome.painted), outcome.left) == (1, 2)
    assert names() == ["a.png"]
    outcome, _ = paint()
    assert (len(outcome.skipped), len(outcome.painted), outcome.left) == (1, 2, 0)


KILLED = """
import functools, os, signal, sys
sys.path.insert(0, sys.argv[1])
from makers import NARROW
from nst_jax import config, files
from nst_jax.pretrained import files as weights
from nst_jax.runs import batch
weights.read = functools.partial(weights.read, blocks=NARROW)
real = os.fsync

def fsync(number):
    if os.path.exists("out/a.png"):
        os.kill(os.getpid(), signal.SIGKILL)  # the second picture is half there
    real(number)

os.fsync = fsync
batch.run(config.load(sys.argv[2]), batch.photographs(["photos"]), "out")
"""


def test_killed_work_leaves_no_half_of_a_picture(world):
    about = settings(sweep={"max_parallel": 1})
    (world / "my.yaml").write_text(config.to_yaml(about))
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), "my.yaml"]
    killed = subprocess.run(command, stdout=subprocess.PIPE, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    assert any(name.endswith(".partial") for name in names())
    outcome, _ = paint()
    assert (len(outcome.skipped), names()) == (1, ["a.png", "b.png", "c.png"])


def test_one_batch_at_a_time_works_in_a_folder(world):
    (world / "out" / ".batch").mkdir(parents=True)
    with (
        filelock.FileLock(world / "out" / ".batch" / "1-of-1.lock"),
        pytest.raises(OutputError, match="another batch is painted there"),
    ):
        paint("out/{name}.jpg")


def test_a_dry_run_writes_nothing(world):
    paint(paths=["photos/b.png"])
    (world / "photos" / "text.jpg").write_text("no picture")
    before = sorted(world.rglob("*"))
    text = batch.plan(settings(), batch.photographs(["photos"]), "out", say=lambda line: None)
    first, share, time, fault = text.splitlines()
    assert first == "4 pictures: 1 are done already, 2 to be painted"
    assert share.startswith("2 pictures of at most 24 x 24, 12 evaluations")
    assert time.startswith("2 jobs of 1 program on 1 worker (cpu): about ")
    assert fault.startswith("photos/text.jpg: ")
    assert sorted(world.rglob("*")) == before
    paint()
    text = batch.plan(settings(), batch.photographs(["photos"]), "out", say=lambda line: None)
    assert text.splitlines()[:2] == [
        "4 pictures: 3 are done already, 0 to be painted",
        "nothing is left to do",
    ]


def test_a_dry_run_for_other_devices_is_in_shares():
    text = batch.plan(
        settings(),
        batch.photographs(["photos"]),
        "out",
        workers=4,
        devices="gpu",
        say=lambda line: None,
    )
    assert text.splitlines()[2:] == [
        "3 jobs of 1 program on 4 workers (gpu): 0.33 of one worker's time, at least 0.33 (the longest job), "
        "longest job 0.33",
        "note: 1 of the workers have nothing to do",
    ]


def test_maps_are_no_photographs_where_they_guide(world):
    files = ["photos/a.png", "photos/a_sem.png"]
    for kind, count in (("patch", 1), ("gram", 2)):
        about = settings(style={"image": "art.png", "kind": kind})
        assert len(batch_files.jobs(about, files, "out/{name}.png", mix=False)) == count


def test_progress_counts_pictures():
    seen = []
    paint(callback=seen.append)
    assert {progress.total for progress in seen} == {3}
    assert seen[-1].done == 3
    assert seen[-1].left == pytest.approx(0)
    assert all(a.done <= b.done for a, b in itertools.pairwise(seen))

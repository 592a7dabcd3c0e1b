"""Films of small frames with known motion, on a narrow network."""

import itertools
import json
import os
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from makers import LAYERS

from nst_jax import cli, config, images, samples
from nst_jax.errors import ConfigError, NstError, OutputError
from nst_jax.films import ffmpeg, opened
from nst_jax.motion import flo
from nst_jax.motion.warp import warped
from nst_jax.runs import film, inputs
from nst_jax.runs.film.following import Moved, Tie, from_first, from_last, segments
from nst_jax.runs.film.painter import Painter
from nst_jax.transfer import program

STEP = (1, 2)
"""Pixels down and to the right that what is seen moves from frame to frame."""

COMMAND = [
    "--style",
    "art.png",
    "--evaluations",
    "16",
    "--codec",
    "ffv1",
    "--set",
    "network.normalised=false",
]
COMMAND += ["--set", "content.layers=[conv2_2]", "--set", "style.layers=[conv1_1, conv2_1]"]


@pytest.fixture(autouse=True)
def _there(world):
    if shutil.which("ffmpeg") is None:
        missing = "needs ffmpeg"
        if os.environ.get("NST_JAX_FFMPEG") == "required":
            pytest.fail(missing)
        pytest.skip(missing)


def settings(values=None):
    base = {
        "style": {"image": "art.png", "layers": LAYERS["style"]},
        "content": {"layers": LAYERS["content"]},
    }
    base |= {"network": {"normalised": False}, "solver": {"evaluations": 16}}
    return config.load(base=base).with_values(values or {})


def clip(name="clip.mkv", *, pictures=("coffee",), frames=5, size=(48, 80), sound=False):
    """Write a film whose camera moves by a known step; after each picture there is a cut."""
    silent = Path(f"silent_{name}")
    with ffmpeg.writing(silent, size, Fraction(25), codec="ffv1") as write:
        for picture in pictures:
            whole = images.bounded(samples.load(picture), 160)
            for i in range(frames):
                top, left = 10 + STEP[0] * i, 10 + STEP[1] * i
                part = whole[top : top + size[0], left : left + size[1]]
                write(np.rint(part * 255).astype(np.uint8))
    tone = ["-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "flac"] if sound else []
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(silent), *tone, "-c:v", "copy", name]
    subprocess.run(command, check=True)
    silent.unlink()
    return Path(name)


def painted(name="out.mkv", source="clip.mkv", values=None, **options):
    said = []
    codec = {"film.codec": "ffv1"} if name.endswith(".mkv") else {}
    outcome = film.run(settings(codec | (values or {})), Path(source), Path(name), say=said.append, **options)
    return outcome, said


def read(name):
    return [frame.astype(np.float32) / 255 for frame in ffmpeg.frames(ffmpeg.probe(Path(name)))]


def flicker(frames):
    """Return the mean squared difference of each frame to the one before, moved by what is known."""
    known = np.broadcast_to(np.float32(STEP), (*frames[0].shape[:2], 2))
    apart = [warped(a, known) - b for a, b in itertools.pairwise(frames)]
    return np.mean([np.mean(each[: -STEP[0] - 1, : -STEP[1] - 1] ** 2) for each in apart])


def test_frames_go_on_from_one_another(world):
    clip(sound=True)
    outcome, _ = painted()
    assert (outcome.frames, outcome.is_interrupted) == (5, False)
    found = ffmpeg.probe(Path("out.mkv"))
    assert (found.width, found.height, found.rate, found.has_sound) == (80, 48, 25, True)
    frames = read("out.mkv")
    assert len(frames) == 5
    painted("free.mkv", values={"film.consistency": 0.0, "film.later": 1.0})
    assert flicker(frames) < 0.35 * flicker(read("free.mkv"))
    assert np.abs(frames[0] - read("clip.mkv")[0]).mean() > 0.05  # it is painted
    assert sorted(path.name for path in Path("out.film").iterdir()) == [
        "film.json",
        "metrics.jsonl",
        "sheet.jpg",
    ]


def test_still_parts_do_not_move(world):
    still = read(clip(frames=1))[0]
    with ffmpeg.writing(Path("still.mkv"), (48, 80), Fraction(25), codec="ffv1") as write:
        for _ in range(3):
            write(np.rint(still * 255).astype(np.uint8))
    painted(source="still.mkv")
    first, *others = read("out.mkv")
    assert max(np.abs(frame - first).max() for frame in others) < 0.1
    assert np.mean([np.abs(frame - first).mean() for frame in others]) < 0.01


def test_a_cut_begins_anew(world):
    clip(pictures=("coffee", "rocket"), frames=3)
    lines = []
    painted(callback=lambda progress: lines.append(Path("out.film/metrics.jsonl").read_text()))
    found = [json.loads(line) for line in lines[-1].splitlines()]
    assert [line["frame"] for line in found] == [1, 2, 3, 4, 5, 6]
    assert [line["follows"] for line in found] == [False, True, True, False, True, True]
    assert found[1]["evaluations"] == 4  # a quarter of those of one size
    assert found[1]["terms"]["temporal"] > 0


def following_by(count, step=STEP, trust=1.0):
    """Return frames that follow one another by a known step."""
    shape = (12, 16)
    there = np.broadcast_to(np.float32(step), (*shape, 2))
    picture, trusted = np.zeros((*shape, 3), np.float32), np.full(shape, trust, np.float32)
    tie = [(), *((Tie(i, there, trusted, -there),) for i in range(1, count))]
    return [Moved(i, picture, ties) for i, ties in enumerate(tie, 1)]


def test_keyframes_are_every_so_many_and_on_both_sides_of_a_cut():
    frames = following_by(8)
    frames[4] = replace(frames[4], ties=())
    numbers = [[frame.number for frame in part] for part in segments(frames, 3)]
    assert numbers == [[1], [2, 3, 4], [5], [6, 7, 8]]
    numbers = [[frame.number for frame in part] for part in segments(frames, 2)]
    assert numbers == [[1], [2, 3], [4], [5], [6, 7], [8]]


def test_flows_to_keyframes_are_those_in_between_together():
    _, *part = following_by(4)
    before, after = from_first(part), from_last(part)
    assert [tie.number for tie in before] == [1, 1, 1]
    assert [tie.number for tie in after] == [4, 4]
    for i in range(3):
        np.testing.assert_allclose(before[i].flow[4, 4], np.multiply(STEP, i + 1))
    for i in range(2):
        np.testing.assert_allclose(after[i].flow[10, 14], np.multiply(STEP, i - 2))


@pytest.mark.parametrize("values", [{"film.every": 3}, {"film.passes": 2}, {"film.back": (1, 2)}])
@pytest.mark.parametrize("at", [2, 4])
def test_every_kind_of_film_goes_on_to_the_same_frames(world, values, at):
    clip(frames=5)
    painted("whole.mkv", values=values)
    compiled = program._compiled.cache_info().misses
    outcome, _ = painted(values=values, callback=lambda progress: progress.frame >= at)
    assert outcome.is_interrupted
    with Path("out.film/metrics.jsonl").open("a") as metrics:  # as after a kill
        metrics.write('{"frame": ')
    painted(values=values)
    assert program._compiled.cache_info().misses == compiled
    lines = Path("out.film/metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["frame"] for line in lines} == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(np.stack(read("out.mkv")), np.stack(read("whole.mkv")))


def test_what_is_between_keyframes_is_made_of_them(world):
    clip(frames=7)
    painted(values={"film.every": 3})
    lines = [json.loads(line) for line in Path("out.film/metrics.jsonl").read_text().splitlines()]
    assert sorted(line["frame"] for line in lines) == [1, 2, 3, 4, 5, 6, 7]
    assert [line["frame"] for line in lines if "between" not in line] == [1, 4, 7]
    frames = read("out.mkv")
    painted("every.mkv", values={"film.consistency": 0.0, "film.later": 1.0})
    assert flicker(frames) < 0.35 * flicker(read("every.mkv"))
    inner = np.s_[4:-8, 4:-12]
    known = np.broadcast_to(np.float32(STEP), (48, 80, 2))
    assert np.abs(warped(frames[0], known) - frames[1])[inner].mean() < 0.02


def test_a_film_is_gone_through_again_backwards(world):
    clip(frames=4)
    seen = []
    painted(
        values={"film.passes": 3}, callback=lambda progress: seen.append((progress.frame, progress.frames))
    )
    assert seen == [(i, 12) for i in range(1, 13)]
    lines = [json.loads(line) for line in Path("out.film/metrics.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [1, 2, 3, 4, 4, 3, 2, 1, 1, 2, 3, 4]
    assert [line["pass"] for line in lines] == [1] * 4 + [2] * 4 + [3] * 4
    assert [line["follows"] for line in lines[4:8]] == [False, True, True, True]
    once, thrice = ([line["terms"]["style"] for line in lines[at : at + 4]] for at in (0, 8))
    assert np.mean(thrice) < np.mean(once)
    assert sorted(path.name for path in Path("out.film").iterdir()) == [
        "film.json",
        "metrics.jsonl",
        "sheet.jpg",
    ]


def test_motion_from_files(world):
    clip(frames=3)
    Path("flow").mkdir()
    known = np.broadcast_to(np.float32(STEP), (48, 80, 2))
    for i in (2, 3):
        flo.write(Path(f"flow/backward_{i}_{i - 1}.flo"), known)
    outcome, _ = painted(values={"film.flow": "flow"})
    assert outcome.frames == 3
    assert flicker(read("out.mkv")) < 1e-3
    with pytest.raises(NstError, match=r"forward_2_3\.flo: is missing"):
        painted(values={"film.flow": "flow", "film.every": 2})
    with pytest.raises(NstError, match="nowhere: cannot be read"):
        painted(values={"film.flow": "nowhere"})


def test_a_film_is_forecast(world, capsys):
    clip(frames=4)
    assert cli.run(["video", "clip.mkv", *COMMAND, "--dry-run", "--every", "2"]) == 0
    said = capsys.readouterr().out
    for words in ("4 frames of 80 x 48 pixels", "s each, and 1 that", "together", "MiB at most", "usable"):
        assert words in said
    assert not list(world.glob("*.film"))
    assert not Path("clip_painted.mp4").exists()


def test_later_frames_compile_nothing(world):
    clip(frames=4)
    compiled = []
    painted(callback=lambda progress: compiled.append(program._compiled.cache_info().misses))
    assert len(set(compiled[1:])) == 1


@pytest.mark.parametrize("at", [1, 3])
def test_a_film_that_was_interrupted_has_the_same_frames(world, at):
    clip(frames=4)
    painted("whole.mkv")
    outcome, _ = painted(callback=lambda progress: progress.frame == at)
    assert (outcome.frames, outcome.is_interrupted) == (at, True)
    assert not Path("out.mkv").exists()
    seen = []
    _, said = painted(callback=lambda progress: seen.append(progress.frame))
    assert seen == list(range(at + 1, 5))
    assert f"going on after {at} frames" in "".join(said)
    np.testing.assert_array_equal(np.stack(read("out.mkv")), np.stack(read("whole.mkv")))


def test_frames_of_other_settings_are_not_gone_on_with(world):
    clip(frames=3)
    painted(callback=lambda progress: True)
    seen = []
    _, said = painted(values={"style.strength": 0.3}, callback=lambda progress: seen.append(progress.frame))
    assert seen == [1, 2, 3]
    assert "removed from out.film 1 frames" in "".join(said)


def test_the_command(world, capsys):
    clip(frames=2)
    assert cli.run(["video", "clip.mkv", *COMMAND, "--output", "out.mkv"]) == 0
    assert "out.mkv: 2 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mp4", "--style", "art.png"], "nowhere.mp4: no such file"),
        (["photo.png"], "style.image: no style image given"),
        ([], "nothing to do: give a film"),
        (["clip.mkv", *COMMAND, "--output", "out.txt"], "ffv1 is not for .txt"),
        (["clip.mkv", *COMMAND, "--output", "clip.mkv"], "clip.mkv: is an input of this film and would be"),
        (["clip.mkv", *COMMAND, "--output", "no/out.mkv"], "the folder no does not exist"),
        (["clip.mkv", *COMMAND, "--keep-mask", "photo.png"], "content.keep: is of one picture"),
    ],
)
def test_mistakes(world, arguments, words, capsys):
    before = clip(frames=1).read_bytes()
    assert cli.run(["video", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert Path("clip.mkv").read_bytes() == before
    assert not list(world.glob("*.film"))


def test_a_folder_of_something_else_is_left_alone(world):
    clip(frames=1)
    Path("out.film").mkdir()
    Path("out.film/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"out\.film: is not the folder of an earlier film"):
        painted()
    assert Path("out.film/mine.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="lbfgsb is for single pictures"):
        painted(values={"solver.kind": "lbfgsb"})


def test_what_is_refused_leaves_what_another_may_go_on_with(world):
    clip(frames=3)
    painted(callback=lambda progress: progress.frame == 2)
    before = {path: path.read_bytes() for path in Path("out.film").iterdir()}
    for name in ("out.mkv", "new.mkv"):
        with pytest.raises(NstError, match="pixels at the size used"):
            painted(name, values={"size": 1})
    assert {path: path.read_bytes() for path in before} == before
    assert not Path("new.film").exists()
    seen = []
    painted(callback=lambda progress: seen.append(progress.frame))
    assert seen == [3]


def test_a_folder_of_frames_becomes_an_animation_and_a_folder(world):
    Path("in").mkdir()
    for number, picture in enumerate(read(clip(frames=2))):
        images.write(f"in/shot {number:02d}.png", picture)
    assert painted("out.gif", "in", {"film.rate": 10})[0].frames == 2
    found = opened.opened(Path("out.gif"))
    assert (found.frames, found.rate, found.width, found.height) == (2, 10, 80, 48)
    painted("out", "in")
    assert sorted(os.listdir("out")) == ["frames.json", "shot 00.png", "shot 01.png"]
    with pytest.raises(OutputError, match="in: is a folder of other files"):
        painted("in", "in")
    assert sorted(os.listdir("in")) == ["shot 00.png", "shot 01.png"]


def test_a_film_for_which_there_is_no_room_is_refused(world, monkeypatch):
    clip(frames=2)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(OutputError, match="a film of 2 frames of 80 x 48 needs"):
        painted()
    assert not Path("out.film").exists()


WIDE, STILL = (180, 320), 40
"""A film's height and width, and how many rows of it do not move."""


def long_clip(name="long.mkv", *, frames=48, cut=24):
    """Write a film: textures that move by a known step above what stands still, a cut, and sound."""
    Path("flow").mkdir()
    known = np.zeros((*WIDE, 2), np.float32)
    known[:-STILL] = STEP
    with ffmpeg.writing(Path("silent.mkv"), WIDE, Fraction(25), codec="ffv1") as write:
        for i in range(frames):
            whole = images.resize(samples.load("coffee" if i < cut else "rocket"), (280, 460))
            top, left = STEP[0] * i, STEP[1] * i
            frame = np.concatenate(
                [whole[top : top + WIDE[0] - STILL, left : left + WIDE[1]], whole[-STILL:, : WIDE[1]]]
            )
            write(np.rint(frame * 255).astype(np.uint8))
            if i:
                flo.write(Path(f"flow/backward_{i + 1}_{i}.flo"), known)
    tone = ["-f", "lavfi", "-i", f"sine=duration={frames / 25}", "-c:a", "flac", "-c:v", "copy", name]
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", "silent.mkv", *tone], check=True)
    return Path(name), known


def said_by(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_film_of_two_scenes(world):
    source, known = long_clip()
    wide = {"size": WIDE[1], "solver.evaluations": 8}
    lines = []

    def watch(progress):
        lines[:] = Path("out.film/metrics.jsonl").read_text().splitlines()

    painted(source=source.name, values=wide | {"film.flow": "flow"}, callback=watch)
    sound = [
        said_by("ffmpeg", "-v", "error", "-i", n, "-map", "0:a", "-c", "copy", "-f", "streamhash", "-")
        for n in ("long.mkv", "out.mkv")
    ]
    assert sound[0] == sound[1]
    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-count_frames", "-of", "csv=p=0"]
    entries = "stream=width,height,r_frame_rate,nb_read_frames"
    assert said_by(*probe, "-show_entries", entries, "out.mkv") == "320,180,25/1,48"

    found = [json.loads(line) for line in lines]
    assert [line["frame"] for line in found if not line["follows"]] == [1, 25]
    first, *later = (line["evaluations"] for line in found[:24])
    assert max(later) <= 0.25 * first

    there, frames = read("long.mkv"), read("out.mkv")
    alone = Painter(settings(wide), inputs.network(settings(), None, say=print))
    free = [alone.painted(there[i]) for i in (11, 12)]
    moving = np.s_[2 : -STILL - 3, 2:-4]
    apart = [np.mean((warped(a, known) - b)[moving] ** 2) for a, b in itertools.pairwise(frames[:24])]
    independent = np.mean((warped(free[0].image, known) - free[1].image)[moving] ** 2)
    assert np.mean(apart) <= 0.35 * independent
    still = [frame[-STILL + 6 :] for frame in frames[:24]]
    assert max(np.abs(a - b).mean() for a, b in itertools.pairwise(still)) < 0.01


@pytest.mark.parametrize("colour", ["content", "matched"])
def test_colours_of_the_style_are_those_of_the_whole_film(world, monkeypatch, colour):
    clip(pictures=("coffee", "rocket"), frames=2)
    seen, real = [], Painter.posed

    def posed(self, *args, **options):
        problem = real(self, *args, **options)
        seen.append(problem.paintings[0].image)
        return problem

    monkeypatch.setattr(Painter, "posed", posed)
    painted("whole.mkv", values={"colour": colour})
    painted(values={"colour": colour}, callback=lambda progress: progress.frame == 3)
    painted(values={"colour": colour})
    assert len(seen) == 8
    assert all(np.array_equal(image, seen[0]) for image in seen)
    np.testing.assert_array_equal(np.stack(read("out.mkv")), np.stack(read("whole.mkv")))

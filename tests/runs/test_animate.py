"""Films of one photograph while settings change, on a narrow network."""

import itertools
import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest
from makers import LAYERS

from nst_jax import cli, config, images
from nst_jax.errors import ConfigError, FilmError, NstError, OutputError
from nst_jax.films import ffmpeg
from nst_jax.runs import animate, frames
from nst_jax.runs.animate import Way
from nst_jax.transfer import program, targets

STRENGTH = {"style.strength": [0.1, 0.9]}
COMMAND = ["animate", "photo.png", "--evaluations", "16", "--codec", "ffv1", "--size", "24"]
COMMAND += ["--set", "network.normalised=false", "--set", "pyramid.levels=1"]
COMMAND += ["--set", "content.layers=[conv2_2]", "--set", "style.layers=[conv1_1, conv2_1]"]


@pytest.fixture(autouse=True)
def _there(world, random):
    if shutil.which("ffmpeg") is None:
        missing = "needs ffmpeg"
        if os.environ.get("NST_JAX_FFMPEG") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    images.write(world / "other.png", np.float32(0.5 * random.uniform(size=(25, 25, 3))))
    images.write(world / "third.png", np.float32(random.uniform(size=(25, 25, 1)) * [1.0, 0.5, 0.0]))


def settings(values=None, styles=("art.png", "other.png")):
    base = {
        "content": {"image": "photo.png", "layers": LAYERS["content"]},
        "style": {"image": list(styles), "layers": LAYERS["style"]},
        "size": 24,
    }
    base |= {"network": {"normalised": False}, "solver": {"evaluations": 16}, "film": {"codec": "ffv1"}}
    return config.load(base=base | {"pyramid": {"levels": 1}}).with_values(values or {})


def along(way, values=None, **options):
    return animate.settings_along(settings(values, **options), way)


def painted(way, name="out.mkv", values=None, styles=("art.png", "other.png"), **options):
    said = []
    outcome = animate.run(settings(values, styles), Path(name), way, say=said.append, **options)
    return outcome, said


def read(name="out.mkv"):
    return [frame.astype(np.float32) / 255 for frame in ffmpeg.frames(ffmpeg.probe(Path(name)))]


def apart(a, b):
    return float(np.abs(a - b).mean())


# --- What changes ---------------------------------------------------------------------------------


def test_shares_go_from_style_to_style_and_linger(world):
    styles = ("art.png", "other.png", "third.png")
    found = np.array([each.style.shares for each in along(Way(frames=9), styles=styles)])
    np.testing.assert_array_equal(found[[0, 4, 8]], np.eye(3))
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found[1:4, 1], [0.15625, 0.5, 0.84375])  # 3 t^2 - 2 t^3
    np.testing.assert_allclose(found[5:8, 1], [0.84375, 0.5, 0.15625])


def test_a_loop_goes_back(world):
    found = np.array([each.style.shares[0] for each in along(Way(frames=8, is_loop=True))])
    np.testing.assert_allclose(found, [1, 0.84375, 0.5, 0.15625, 0, 0.15625, 0.5, 0.84375])


@pytest.mark.parametrize(
    ("key", "values", "middle"),
    [
        ("style.strength", [0.1, 0.9], 0.5),
        ("content.weight", [0.01, 100.0], 1.0),  # by factors
        ("style.weight", [10, 1000], 100.0),
        ("loss.total_variation", [0, 1], 0.5),  # there is no factor from 0
        ("style.shares", [[1, 3], [3, 1]], (0.5, 0.5)),
    ],
)
def test_weights_go_between_values(world, key, values, middle):
    found = [each.value(key) for each in along(Way(frames=3, between={key: values}))]
    assert found[1] == pytest.approx(middle)
    assert found[2] == pytest.approx([0.75, 0.25] if key == "style.shares" else values[1])


@pytest.mark.parametrize(
    ("between", "values", "words"),
    [
        ({"size": [10, 20]}, {}, "size: cannot change in a film; these can: style.shares, style.strength"),
        ({"style.strength": [0.5]}, {}, "style.strength: should go through two values at least"),
        ({"style.strength": [0.5, 2]}, {}, "style.strength: should be a finite number"),
        ({"style.strength": [None, 1]}, {}, "style.strength: should be a number, got null"),
        ({"style.strength": [0, 1], "style.weight": [1, 2, 3]}, {}, "style.strength: 2, style.weight: 3"),
        ({"style.shares": [[1], [1, 2]]}, {}, "style.shares: there are 1 for 2 styles"),
        ({"content.weight": [1, 2]}, {"style.strength": 0.5}, "style.strength stands in its place"),
        ({}, {"style.kind": "nnst"}, "nnst cannot go from style to style; these can: gram, moments, w2"),
        ({}, {"solver.kind": "lbfgsb"}, "lbfgsb is for single pictures"),
    ],
)
def test_what_cannot_change(world, between, values, words):
    with pytest.raises(ConfigError) as caught:
        along(Way(between=between), values)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_one_style_has_nothing_to_go_to(world):
    with pytest.raises(ConfigError, match=r"give --style several times, or --between KEY=A,B"):
        along(Way(), styles=("art.png",))


# --- Frames ---------------------------------------------------------------------------------------


def test_frames_go_on_from_one_another_by_one_program(world, monkeypatch):
    counted, lines, compiled = [], [], []
    real = targets._statistics

    def count(problem, term, params, painting):
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params)):
            counted.append(painting)  # and not only its shapes
        return real(problem, term, params, painting)

    monkeypatch.setattr(targets, "_statistics", count)
    program.forget_compiled()

    def watch(progress):
        compiled.append(program._compiled.cache_info().misses)
        lines[:] = Path("out.film/metrics.jsonl").read_text().splitlines()

    outcome, _ = painted(Way(frames=6), values={"film.rate": 12}, callback=watch)
    assert (outcome.frames, outcome.is_interrupted) == (6, False)
    assert compiled == [1] * 6
    film, found = ffmpeg.probe(Path("out.mkv")), read()
    assert (film.width, film.height, film.rate, len(found)) == (24, 18, 12, 6)
    metrics = [json.loads(line) for line in lines]
    assert [line["frame"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert [line["evaluations"] for line in metrics] == [16, 4, 4, 4, 4, 4]
    assert metrics[0]["style.shares"] == [1.0, 0.0]
    assert metrics[-1]["style.shares"] == [0.0, 1.0]
    neighbours = [apart(a, b) for a, b in itertools.pairwise(found)]
    assert 0 < max(neighbours) < apart(found[0], found[-1])
    assert (Path("out.film") / "sheet.jpg").is_file()
    assert len(counted) == 2  # of each style once


def test_each_style_has_its_say(world):
    """The ends of the film are nearer to pictures of one style than to those of the other."""
    painted(Way(frames=8))
    found = read()
    alone = []
    for style in ("art.png", "other.png"):
        painted(Way(frames=2, between={"style.strength": [0.5, 0.5]}), "one.mkv", styles=(style,))
        alone.append(read("one.mkv")[-1].mean((0, 1)))
    first, last = found[0].mean((0, 1)), found[-1].mean((0, 1))
    assert apart(first, alone[0]) < apart(first, alone[1])
    assert apart(last, alone[1]) < apart(last, alone[0])


@pytest.mark.parametrize("between", [{}, STRENGTH])
def test_a_loop_closes(world, between):
    painted(Way(frames=10, is_loop=True, between=between))
    found = read()
    assert len(found) == 10
    neighbours = [apart(a, b) for a, b in itertools.pairwise(found)]
    assert apart(found[-1], found[0]) <= 1.5 * max(neighbours)
    painted(Way(frames=10, between=between), "there.mkv")
    assert apart(found[-1], found[0]) < apart(read("there.mkv")[-1], read("there.mkv")[0])


@pytest.mark.parametrize("at", [2, 7])
def test_a_film_that_was_interrupted_has_the_same_frames(world, at):
    way = Way(frames=6, is_loop=True, between=STRENGTH)
    painted(way, "whole.mkv")
    outcome, _ = painted(way, callback=lambda progress: progress.frame == at)
    assert (outcome.frames, outcome.is_interrupted) == (at, True)
    assert not Path("out.mkv").exists()
    seen = []
    _, said = painted(way, callback=lambda progress: seen.append((progress.frame, progress.frames)))
    assert seen == [(number, 9) for number in range(at + 1, 10)]
    assert f"going on after {at} frames" in "".join(said)
    np.testing.assert_array_equal(np.stack(read()), np.stack(read("whole.mkv")))


@pytest.mark.parametrize("colour", ["content", "matched"])
def test_colours_are_kept(world, colour):
    painted(Way(frames=4), values={"colour": colour})
    found = read()
    if colour == "content":
        photo = images.resize(images.read("photo.png").rgb, (18, 24))
        hues = [each - each.mean(2, keepdims=True) for each in (*found, photo)]
        assert max(apart(each, hues[-1]) for each in hues) < 0.1
    assert max(apart(a, b) for a, b in itertools.pairwise(found)) < 0.15


def test_other_settings_begin_anew(world):
    painted(Way(frames=4), callback=lambda progress: progress.frame == 2)
    seen = []
    _, said = painted(Way(frames=5), callback=lambda progress: seen.append(progress.frame))
    assert seen == [1, 2, 3, 4, 5]
    assert "removed from out.film 2 frames" in "".join(said)


def test_odd_sides_lose_a_pixel_where_they_must(world):
    painted(Way(frames=2), "out.mp4", {"film.codec": "h264", "size": 23})
    assert (ffmpeg.probe(Path("out.mp4")).height, ffmpeg.probe(Path("out.mp4")).width) == (16, 22)


# --- The folder of frames -------------------------------------------------------------------------


def test_the_folder_of_frames(world, random):
    said, folder = [], Path("x.film")
    picture = np.float32(random.uniform(size=(4, 6, 3)))
    with frames.claimed(folder, Path("x.mkv")):
        assert not frames.is_of(folder, "a")
        frames.begin(folder, "a", {}, said.append)
        frames.keep(folder, 1, picture)
        kept = frames.read(folder, 1)
        frames.note(folder, {"frame": 1, "loss": float("nan")})
        with pytest.raises(OutputError, match=r"x\.mkv: is being painted by another process"):
            frames.claimed(folder, Path("x.mkv")).__enter__()
        assert not frames.is_of(folder, "b")
        assert frames.is_of(folder, "a")
        assert frames.leading(folder, (1, 2)) == 1
    np.testing.assert_array_equal(kept, np.floor(picture * 255 + 0.5) / np.float32(255))
    assert json.loads((folder / "metrics.jsonl").read_text()) == {"frame": 1, "loss": None}
    assert frames.notes(folder) == [{"frame": 1, "loss": None}]
    assert said == []


def test_what_is_refused_leaves_no_folder(world):
    with pytest.raises(NstError, match="pixels at the size used"):
        painted(Way(frames=2), values={"size": 1})
    assert not Path("out.film").exists()


# --- The command ----------------------------------------------------------------------------------


def test_the_command(world, capsys):
    more = [
        "--style",
        "art.png",
        "--between",
        "style.strength=0.1,0.9",
        "--frames",
        "3",
        "--rate",
        "30000/1001",
    ]
    assert cli.run([*COMMAND, *more, "--output", "out.mkv"]) == 0
    assert "out.mkv: 3 frames" in capsys.readouterr().out
    assert ffmpeg.probe(Path("out.mkv")).rate == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to do: give a photograph"),
        ([*COMMAND, "--style", "art.png"], "there is nothing to go between"),
        ([*COMMAND, "--style", "art.png", "--between", "seed"], "--between seed: should be KEY=VALUE"),
        ([*COMMAND, "--frames", "1"], "--frames: should be a whole number of at least 2, got '1'"),
        ([*COMMAND, "--rate", "0"], "film.rate: should be a number from 0.01"),
        (
            [*COMMAND, "--style", "art.png", "--style", "other.png", "--output", "no/out.mkv"],
            "does not exist",
        ),
        ([*COMMAND, "--style", "art.png", "--style", "other.png", "--output", "out.txt"], "not for .txt"),
        (["animate", "no.png", *COMMAND[2:], "--style", "art.png", "--style", "other.png"], "not for .mp4"),
    ],
)
def test_mistakes(world, arguments, words, capsys):
    command = arguments if arguments[:1] == ["animate"] else ["animate", *arguments]
    before = {path: path.read_bytes() for path in world.glob("*.png")}
    assert cli.run(command) == 2
    assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert not list(world.glob("*.film"))


def test_without_ffmpeg_nothing_is_begun(world, monkeypatch):
    def missing():
        raise FilmError("there is no ffmpeg: install it")

    monkeypatch.setattr("nst_jax.films.program.ffmpeg", missing)
    with pytest.raises(FilmError, match="there is no ffmpeg"):
        painted(Way(frames=2))
    assert not Path("out.film").exists()

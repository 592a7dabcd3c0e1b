"""The film of how a picture came about, on a narrow network."""

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from makers import run_settings

from nst_jax import cli, images
from nst_jax.errors import FilmError, OutputError
from nst_jax.films import ffmpeg
from nst_jax.runs import single, steps
from nst_jax.transfer import checkpoints

LONG = {"solver": {"evaluations": 30}, "pyramid": {"levels": 2}}


@pytest.fixture(autouse=True)
def _there(request, world):
    if shutil.which("ffmpeg") is None and "needs_no_ffmpeg" not in request.fixturenames:
        missing = "needs ffmpeg"
        if os.environ.get("NST_JAX_FFMPEG") == "required":
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture
def needs_no_ffmpeg(monkeypatch):
    def missing():
        raise FilmError("there is no ffmpeg: install it")

    monkeypatch.setattr("nst_jax.films.program.ffmpeg", missing)


def filmed(name="out.png", callback=lambda progress: None, film="steps", **changes):
    said = []
    given = run_settings(**LONG | changes, output={"image": name, "film": film})
    return single.run(given, say=said.append, callback=callback), said


def read(name):
    return [frame.astype(np.float32) / 255 for frame in ffmpeg.frames(ffmpeg.probe(Path(name)))]


def apart(a, b):
    """Return how far apart pictures are in their lightness: films keep a quarter of the colours."""
    return np.abs((a - b) @ np.float32([0.2126, 0.7152, 0.0722])).mean()


@pytest.mark.parametrize(("budget", "frames"), [(150, 40), (150, 120), (500, 40), (7, 40), (1, 40), (600, 2)])
def test_early_evaluations_have_more_frames(budget, frames):
    found = steps.spaced(budget, frames)
    assert (found[0], found[-1], len(found)) == (1, budget, min(budget, frames))
    gaps = [b - a for a, b in itertools.pairwise(found)]
    assert min(gaps, default=1) >= 1
    assert all(b >= a - 1 for a, b in itertools.pairwise(gaps))  # but for rounding
    if (budget, frames) == (500, 40):
        late = [b / a for a, b in itertools.pairwise(found) if a > 50]
        assert max(late) / min(late) < 1.05


def test_the_film_ends_with_the_picture(world):
    _, said = filmed(init="noise")
    found, film = read("out.mp4"), ffmpeg.probe(Path("out.mp4"))
    picture = images.read("out.png").rgb
    assert (film.width, film.height, film.rate) == (24, 18, steps.RATE)
    assert len(found) == 2 * 30 + steps.RATE
    assert any("out.mp4: how it came about, 3.5 s" in line for line in said)
    coarse = images.resize(images.resize(picture, (9, 12)), (18, 24))
    for frame in found[-steps.RATE :]:
        assert apart(frame, picture) < 0.05
    assert apart(found[0], picture) > 2 * apart(found[-1], picture)
    assert apart(found[29], coarse) < apart(found[0], coarse)
    assert not Path("out.run.partial").exists()
    assert not list(Path("out.run").glob("frame_*"))


def test_the_film_decides_nothing_about_the_picture(world):
    filmed("out.png")
    with_film = Path("out.png").read_bytes()
    filmed("out.png", film=None)
    assert Path("out.png").read_bytes() == with_film
    assert json.loads(Path("out.run/result.json").read_text())["film"] == "out.mp4"
    filmed("out.png")  # so that the film that is there may be replaced
    assert Path("out.png").read_bytes() == with_film


def test_kept_pictures_are_where_they_would_be_without_a_film(world):
    output = {"image": "out.png", "film": "steps", "save_every": 25}
    single.run(run_settings(**LONG, output=output), say=lambda line: None)
    names = {path.name for path in Path("out.run").iterdir()}
    assert {"step_000025.png", "step_000050.png", "steps.png"} <= names
    assert len(read("out.mp4")) == 60 + steps.RATE


def test_odd_sides_lose_a_pixel(world):
    filmed(size=23)  # 17 x 23
    film = ffmpeg.probe(Path("out.mp4"))
    assert (film.height, film.width) == (16, 22)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [11, 40])
def test_frames_survive_a_kill(world, monkeypatch, at):
    monkeypatch.setattr(steps, "FRAMES", 24)
    filmed("whole.png")
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", 1e9)

    def kill(progress):
        if progress.evaluations >= at:
            raise _Killed

    with pytest.raises(_Killed):
        filmed(callback=kill)
    assert list(Path("out.run.partial").glob("frame_*.jpg"))
    assert not Path("out.mp4").exists()
    _, said = filmed()
    assert any("going on after" in line for line in said)
    np.testing.assert_array_equal(np.stack(read("out.mp4")), np.stack(read("whole.mp4")))


def test_an_interrupted_run_has_a_film_and_goes_on(world, monkeypatch):
    monkeypatch.setattr(steps, "FRAMES", 24)
    filmed("whole.png")
    outcome, _ = filmed(callback=lambda progress: progress.evaluations >= 12)
    assert outcome.goes_on
    assert steps.RATE < len(read("out.mp4")) < len(read("whole.mp4"))
    filmed()
    np.testing.assert_array_equal(np.stack(read("out.mp4")), np.stack(read("whole.mp4")))
    assert not Path("out.run.partial").exists()


@pytest.mark.usefixtures("needs_no_ffmpeg")
def test_without_ffmpeg_nothing_is_begun(world, capsys):
    command = ["--content", "photo.png", "--style", "art.png", "--film", "steps"]
    assert cli.run(command) == 2
    assert capsys.readouterr().err == "nst-jax: there is no ffmpeg: install it\n"
    assert not list(world.glob("out*"))


def test_a_film_of_somebody_else_is_left_alone(world):
    Path("out.mp4").write_text("mine")
    with pytest.raises(OutputError, match=r"out\.mp4: is not of an earlier run"):
        filmed()
    assert Path("out.mp4").read_text() == "mine"


def test_a_film_that_cannot_be_written_costs_no_picture(world, monkeypatch):
    def broken(*arguments, **options):
        raise FilmError("out.mp4: cannot be written")

    monkeypatch.setattr(ffmpeg, "writing", broken)
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written; the picture is in out\.png"):
        filmed()
    assert images.read("out.png").rgb.shape == (18, 24, 3)


@pytest.mark.parametrize("text", ["walk", "true", "1"])
def test_there_are_no_other_films(world, capsys, text):
    assert cli.run(["--content", "photo.png", "--style", "art.png", "--film", text]) == 2
    assert "should be 'steps'" in capsys.readouterr().err

import os
import shutil
import subprocess
from collections import namedtuple
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_jax.errors import FilmError, NstError, OutputError
from nst_jax.films import opened as films


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _with_ffmpeg():
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        missing = "needs ffmpeg and ffprobe"
        if os.environ.get("NST_JAX_FFMPEG") == "required":
            pytest.fail(missing)
        pytest.skip(missing)


def pictures(count=4, size=(16, 24)):
    """Return pictures of one colour each, in which no format loses much."""
    return [np.full((*size, 3), (20 * n + 30, 200 - 30 * n, 90), np.uint8) for n in range(count)]


def written(name, frames, rate=Fraction(10), **options):
    with films.writing(Path(name), frames[0].shape[:2], rate, **options) as write:
        for frame in frames:
            write(frame)
    return Path(name)


KINDS = {
    "film": ["a.mp4", "a.webm", "a.mkv"],
    "animation": ["a.gif", "a.webp", "a.png"],
    "folder": ["out", "o/"],
}


@pytest.mark.usefixtures("_with_ffmpeg")
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in KINDS[kind]])
def test_every_kind_is_written_and_read(kind, name):
    frames = pictures()
    path = written(name, frames, codec="ffv1" if name == "a.mkv" else None)
    film = films.opened(path)
    assert (film.kind, film.width, film.height, film.frames) == (kind, 24, 16, 4)
    assert film.rate == (24 if kind == "folder" else 10)
    back = np.stack(list(films.frames(film)))
    assert np.abs(back.astype(int) - np.stack(frames)).max() <= (
        0 if name in ("a.gif", "a.png", "out", "o/") else 4
    )
    np.testing.assert_array_equal(np.stack(list(films.frames(film, begin=2))), back[2:])


@pytest.mark.usefixtures("_with_ffmpeg")
def test_what_is_read_is_told_apart_by_what_it_is():
    for name in ("a.gif", "a.mp4"):
        written(name, pictures())
    Path("a.gif").rename("b.mp4")
    Path("a.mp4").rename("b.gif")
    assert films.opened(Path("b.mp4")).kind == "animation"
    assert films.opened(Path("b.gif")).kind == "film"


@pytest.mark.usefixtures("_with_ffmpeg")
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_picture_is_no_film(name):
    Image.new("RGB", (16, 16)).save(name)
    with pytest.raises(
        FilmError, match=f"{name}: is a picture, not a film: paint it with nst-jax, without video"
    ):
        films.opened(Path(name))


@pytest.mark.usefixtures("_with_ffmpeg")
def test_another_rate_keeps_the_length_but_of_a_folder():
    for name, count in (("a.mkv", 3), ("a.gif", 3), ("out", 6)):
        film = films.opened(written(name, pictures(6)), rate=Fraction(5))
        assert film.rate == 5
        assert len(list(films.frames(film))) == film.frames == count


def test_without_ffmpeg_animations_and_folders_work(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    assert films.opened(written("a.gif", pictures())).frames == 4
    assert films.opened(written("out", pictures())).frames == 4
    Path("a.mp4").write_bytes(b"film")
    for act in (lambda: films.opened(Path("a.mp4")), lambda: films.check_output(Path("b.mp4"), None)):
        with pytest.raises(FilmError, match="there is no ffmpeg"):
            act()


def test_loops_and_names_are_those_of_the_source():
    film = films.opened(written("a.gif", pictures()))
    assert film.loops == 0
    with Image.open("a.gif") as image:
        image.save("once.png", save_all=True, loop=1)
    once = films.opened(Path("once.png"))
    assert films.opened(written("b.gif", pictures(), source=once)).loops == 1
    Path("in").mkdir()
    for n, picture in enumerate(pictures()):
        Image.fromarray(picture).save(f"in/shot {2 * n}.bmp")
    out = written("out", pictures(), source=films.opened(Path("in")))
    assert sorted(os.listdir(out)) == ["frames.json", *(f"shot {2 * n}.png" for n in range(4))]


@pytest.mark.usefixtures("_with_ffmpeg")
@pytest.mark.parametrize(
    "name", ["-dash.gif", "with space.png", "quote's.webp", "färbe%03d.gif", "%d", "-out"]
)
def test_odd_names(name):
    assert films.opened(written(name, pictures())).frames == 4


@pytest.mark.usefixtures("_with_ffmpeg")
@pytest.mark.parametrize(
    ("name", "codec", "words"),
    [
        ("a.txt", None, r"a\.txt: \.txt is not of a film; use \.mp4, .*\.gif, .* or a folder"),
        ("a.gif", "h264", "has no choice of codecs"),
        ("out", "ffv1", "a folder of frames has no codec; leave ffv1 out"),
        ("a.mp4", "vp9", r"vp9 is not for \.mp4; use \.webm, \.mkv"),
        ("a.webm", "h264", r"h264 is not for \.webm"),
        ("no/a.gif", None, "the folder no does not exist"),
        ("no/a.mp4", None, "the folder no does not exist"),
        ("full", None, "is a folder of other files"),
        ("full.mp4", None, "is a folder; give the name of a file"),
    ],
)
def test_what_cannot_be_written_is_refused(name, codec, words):
    for folder in ("full", "full.mp4"):
        Path(folder).mkdir()
        Path(folder, "mine.txt").write_text("mine")
    with pytest.raises(NstError, match=words):
        films.check_output(Path(name), codec)
    assert not Path(name).exists() or Path(name, "mine.txt").exists()


@pytest.mark.usefixtures("_with_ffmpeg")
def test_an_animation_becomes_a_film_and_back():
    source = written("a.gif", pictures(), Fraction(25))
    film = films.opened(source)
    written("b.mp4", list(films.frames(film)), film.rate, source=film)
    command = ["ffprobe", "-v", "error", "-count_frames", "-of", "csv=p=0", "-show_entries"]
    said = subprocess.run(
        [*command, "stream=r_frame_rate,nb_read_frames", "b.mp4"], capture_output=True, text=True
    )
    assert said.stdout.strip() == "25/1,4"


@pytest.mark.usefixtures("_with_ffmpeg")
@pytest.mark.parametrize(("name", "kind"), [("a.gif", "gif"), ("a.png", "apng")])
def test_ffmpeg_finds_in_an_animation_what_was_written(name, kind):
    frames = pictures()
    written(name, frames)
    command = ["ffmpeg", "-v", "error", "-f", kind, "-i", name, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(np.frombuffer(data, np.uint8).reshape(-1, 16, 24, 3), np.stack(frames))


def test_marks_change_with_the_files():
    film = films.opened(written("out", pictures()))
    before = films.marks(film)
    assert len(before) == 3 * 4
    os.utime("out/frame_000002.png", (1, 1))
    assert films.marks(film) != before
    gif = films.opened(written("a.gif", pictures()))
    assert films.marks(gif) == [Path("a.gif").stat().st_size, Path("a.gif").stat().st_mtime_ns]


def test_room_is_looked_for(monkeypatch, tmp_path):
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10**6))
    films.check_room(tmp_path, 100, (50, 90))
    films.check_room(tmp_path, None, (5000, 9000))
    with pytest.raises(
        OutputError, match=r"a film of 200 frames of 90 x 50 needs .* GiB of the disk of .*: free"
    ):
        films.check_room(tmp_path, 200, (50, 90))
    with pytest.raises(OutputError, match="free"):
        films.check_room(tmp_path, 100, (50, 90), copies=2)


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("a.gif", "a_painted.gif"),
        ("in/a.WEBP", "in/a_painted.webp"),
        ("a.b.apng", "a.b_painted.apng"),
        ("a.mkv", "a_painted.mp4"),
        ("a", "a_painted.mp4"),
        ("shot", "shot_painted"),
    ],
)
def test_films_are_called_after_what_they_are_made_of(source, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shot").mkdir()
    assert films.beside(Path(source)) == Path(made)
    assert films.is_folder(films.beside(Path("shot")))

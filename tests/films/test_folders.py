import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import png
import pytest
from PIL import Image

from nst_jax.errors import FilmError, ImageError, OutputError
from nst_jax.films import folders

FOLDER = Path("my frames")


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir()


def put(name, grey, size=(6, 4), mode="RGB"):
    Image.new("RGB", size, (grey,) * 3).convert(mode).save(FOLDER / name)


def seen(film, **options):
    return [int(frame[0, 0, 0]) for frame in folders.frames(film, **options)]


def test_frames_come_in_the_order_of_their_numbers():
    for number in (10, 9, 1, 100):
        put(f"shot {number}.png", number)
    film = folders.probe(FOLDER)
    assert (film.width, film.height, film.rate, film.frames, film.kind) == (6, 4, 24, 4, "folder")
    said = []
    assert seen(film, say=said.append) == [1, 9, 10, 100]
    assert said == ["my frames: 96 numbers between 1 and 100 are missing; what is there is taken"]
    assert seen(film, begin=3) == [100]


def test_without_gaps_nothing_is_said_and_a_rate_is_taken_as_it_is():
    for number in range(3):
        put(f"{number:04d}.jpg", number)
    said = []
    film = folders.probe(FOLDER, Fraction(12))
    assert len(seen(film, say=said.append)) == 3
    assert (said, film.rate, film.seconds) == ([], 12, 0.25)


def test_other_files_are_left_alone():
    put("f1.png", 5)
    put("cover.png", 9, size=(9, 9))
    put(".f2.png", 9, size=(9, 9))
    (FOLDER / "notes3.txt").write_text("mine")
    (FOLDER / "sub4.png").mkdir()
    assert seen(folders.probe(FOLDER)) == [5]


def test_deep_and_transparent_frames_are_taken_with_8_bits_on_white():
    grey = np.full((4, 6 * 3), 40000, np.uint16)
    with (FOLDER / "a1.png").open("wb") as file:
        png.Writer(6, 4, greyscale=False, bitdepth=16).write(file, grey.tolist())
    for number in (2, 3):
        Image.new("RGBA", (6, 4), (0, 0, 0, 51)).save(FOLDER / f"a{number}.png")
    said = []
    assert seen(folders.probe(FOLDER), say=said.append) == [round(40000 / 257), 204, 204]
    assert said == ["my frames/a2.png: is transparent in parts; white is put behind"]


def test_a_frame_that_lies_on_its_side_has_its_upright_size():
    put("a1.png", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 6)).save(FOLDER / "a2.jpg", exif=exif)
    assert folders.probe(FOLDER).frames == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.png"], "my frames: has no pictures whose names end in a number, such as frame_0001.png"),
        (["a1.png", "b1.png"], "my frames: has several series of frames, such as a1.png and b1.png"),
        (["a1.png", "a01.png"], "my frames: a01.png and a1.png have the same number"),
    ],
)
def test_folders_that_are_no_film(names, words):
    for name in names:
        put(name, 1)
    with pytest.raises(FilmError, match=words):
        folders.probe(FOLDER)


def test_a_frame_of_another_size_and_a_damaged_one_are_named():
    for number in range(1, 4):
        put(f"a{number}.png", 1, size=(6, 4) if number < 3 else (7, 4))
    with pytest.raises(FilmError, match=r"my frames/a3\.png: has 7 x 4 pixels, and a1\.png 6 x 4"):
        folders.probe(FOLDER)
    (FOLDER / "a3.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"my frames/a3\.png: is not an image"):
        folders.probe(FOLDER)
    put("a3.png", 1)
    film = folders.probe(FOLDER)
    put("a3.png", 1, size=(9, 9))
    with pytest.raises(FilmError, match=r"a3\.png: has another size than a1\.png"):
        seen(film)


def frames(count, first=0):
    return [np.full((4, 6, 3), first + n, np.uint8) for n in range(count)]


def written(path, pictures, names=()):
    with folders.writing(Path(path), names) as write:
        for picture in pictures:
            write(picture)
    return Path(path)


def test_frames_are_written_by_the_names_given_or_by_number():
    out = written("out", frames(3))
    assert sorted(os.listdir(out)) == [
        "frame_000001.png",
        "frame_000002.png",
        "frame_000003.png",
        "frames.json",
    ]
    assert seen(folders.probe(out)) == [0, 1, 2]
    out = written("out", frames(2, 50), ["100% a_07.jpg", "-b 9.tif"])  # it is ours, and replaced
    assert sorted(os.listdir(out)) == ["-b 9.png", "100% a_07.png", "frames.json"]
    with Image.open(out / "-b 9.png") as image:
        assert image.getpixel((0, 0)) == (51, 51, 51)


def test_a_folder_of_other_files_is_refused_and_kept():
    put("mine1.png", 1)
    with pytest.raises(OutputError, match="my frames: is a folder of other files, which is left alone"):
        written(FOLDER, frames(1))
    out = written("out", frames(1))
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="out: is a folder of other files"):
        written(out, frames(1))
    (out / "mine.txt").unlink()
    (out / "frames.json").write_text(json.dumps([1]))
    with pytest.raises(OutputError, match="out: is a folder of other files"):
        folders.check_output(out)
    Path("file").touch()
    with pytest.raises(OutputError, match="file: is a file"):
        folders.check_output(Path("file"))
    with pytest.raises(OutputError, match="the folder no does not exist"):
        folders.check_output(Path("no/out"))
    assert sorted(os.listdir(FOLDER)) == ["mine1.png"]


def test_a_failure_leaves_the_old_folder_and_nothing_else():
    out = written("out", frames(2))
    with pytest.raises(AttributeError):
        written(out, [*frames(1), None])
    with pytest.raises(FilmError, match="out: has no frames"):
        written(out, [])
    assert seen(folders.probe(out)) == [0, 1]
    assert sorted(os.listdir()) == ["my frames", "out"]


def test_an_empty_folder_is_used_and_a_link_stays():
    Path("link").symlink_to("my frames")
    written("link", frames(2))
    assert Path("link").is_symlink()
    assert folders.probe(FOLDER).frames == 2

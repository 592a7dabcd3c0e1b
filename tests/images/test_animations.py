import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from nst_jax.errors import ImageError
from nst_jax.images import animations

NAMES = ["a.gif", "a.webp", "a.png", "a.apng"]


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pictures(count=3, size=(13, 17), colours=3):
    """Return pictures of a few colours each, which every format holds exactly."""
    rng = np.random.default_rng(count)
    palette = rng.integers(0, 256, (colours, 3), np.uint8)
    return [palette[rng.integers(0, colours, size)] for _ in range(count)]


def written(name, frames, seconds=Fraction(1, 10), **options):
    path, buffer = Path(name), io.BytesIO()
    with animations.writing(buffer, path, frames[0].shape[:2], seconds, **options) as write:
        for frame in frames:
            write(frame)
    path.write_bytes(buffer.getvalue())
    return path


def pillow(path):
    """Return pictures and milliseconds as Pillow has them."""
    with Image.open(path) as image:
        found = [
            (np.asarray(each.convert("RGB")), each.info["duration"]) for each in ImageSequence.Iterator(image)
        ]
        return found, image.info.get("loop")


@pytest.mark.parametrize("name", NAMES)
def test_pillow_finds_what_was_written(name):
    frames = pictures()
    frames.insert(1, frames[0])  # not taken together with the one like it
    found, loop = pillow(written(name, frames, quality=100))
    np.testing.assert_array_equal(np.stack([picture for picture, _ in found]), np.stack(frames))
    assert [duration for _, duration in found] == [100] * 4
    assert loop == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loops", [0, 1, 5])
def test_what_was_written_is_read(name, loops):
    frames = pictures(2)
    path = written(name, frames, loops=loops, quality=100)
    found = animations.timeline(path)
    assert (found.width, found.height, found.loops) == (17, 13, loops)
    assert found.durations == (Fraction(1, 10),) * 2
    back = list(animations.pictures(path))
    np.testing.assert_array_equal(np.stack([picture for picture, _ in back]), np.stack(frames))
    assert not any(is_transparent for _, is_transparent in back)


@pytest.mark.parametrize("name", NAMES)
def test_one_picture_is_an_animation_too(name):
    path = written(name, pictures(1))
    assert animations.format_of(path) == animations.SUFFIXES[path.suffix]
    assert len(animations.timeline(path).durations) == len(list(animations.pictures(path))) == 1


def test_many_colours_are_dithered_in_a_gif():
    rows = np.linspace(0, 255, 64).astype(np.uint8)
    smooth = np.stack([*np.meshgrid(rows, rows), np.full((64, 64), 90, np.uint8)], axis=-1)
    ((back, _),) = animations.pictures(written("a.gif", [smooth]))
    assert len(np.unique(back.reshape(-1, 3), axis=0)) <= 256
    means = [
        each.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)) for each in (smooth.astype(float), back.astype(float))
    ]
    assert np.abs(means[0] - means[1]).max() < 6  # on average the colours are right
    assert np.abs(smooth.astype(int) - back).max() < 40


def test_a_lossy_webp_is_near_and_smaller():
    rng = np.random.default_rng(0)
    frames = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))) for _ in "ab"
    ]
    sizes = {quality: written("a.webp", frames, quality=quality).stat().st_size for quality in (10, 90)}
    assert sizes[10] < sizes[90]
    back = [picture for picture, _ in animations.pictures(Path("a.webp"))]
    assert np.abs(np.stack(back).astype(int) - np.stack(frames)).mean() < 6


def test_a_gif_of_pillow_with_transparency_and_odd_times():
    frames = [Image.new("RGBA", (8, 8), (255, 0, 0, 255)), Image.new("RGBA", (8, 8), (0, 0, 0, 0))]
    frames[0].putpixel((0, 0), (0, 0, 0, 0))
    frames[0].save("a.gif", save_all=True, append_images=frames[1:], duration=[70, 130], disposal=2, loop=2)
    found = animations.timeline(Path("a.gif"))
    assert found.durations == (Fraction(7, 100), Fraction(13, 100))
    assert found.loops == 3  # Pillow, like the format, counts what comes after the first
    (first, is_first), (second, is_second) = animations.pictures(Path("a.gif"))
    assert (first[4, 4].tolist(), second[4, 4].tolist()) == ([255, 0, 0], [255, 255, 255])
    assert (is_first, is_second) == (True, True)


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_animations_of_pillow_that_are_half_transparent(name):
    frames = [Image.new("RGBA", (8, 8), (200, 0, 0, alpha)) for alpha in (255, 51)]
    frames[0].save(name, save_all=True, append_images=frames[1:], duration=40, lossless=True, loop=7)
    found = animations.timeline(Path(name))
    assert (found.durations, found.loops) == ((Fraction(1, 25),) * 2, 7)
    second = list(animations.pictures(Path(name)))[1]
    assert np.abs(second[0][4, 4].astype(int) - [244, 204, 204]).max() <= 1  # a fifth of it, on white
    assert second[1]


def test_the_picture_of_an_apng_that_is_no_part_of_it_is_left_out():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save("a.png", save_all=True, default_image=True, append_images=frames[1:], duration=50)
    seen = [picture[0, 0].tolist() for picture, _ in animations.pictures(Path("a.png"))]
    assert seen == [[0, 128, 0], [0, 0, 255]]
    assert len(animations.timeline(Path("a.png")).durations) == 2


def test_times_that_are_not_told_are_those_of_browsers():
    image = Image.new("RGB", (4, 4))
    image.save("a.gif")
    assert animations.timeline(Path("a.gif")).durations == (Fraction(1, 10),)


def test_pictures_are_no_animations():
    for name in ("a.png", "a.webp", "a.jpg"):
        Image.new("RGB", (4, 4)).save(name)
        assert animations.format_of(Path(name)) is None
    Path("short.webp").write_bytes(b"RIFF\0\0\0\0WEBPVP8X")
    for name in ("short.webp", "nowhere.gif", "."):
        assert animations.format_of(Path(name)) is None
    with pytest.raises(ImageError, match=r"a\.jpg: is no animation"):
        animations.timeline(Path("a.jpg"))


@pytest.mark.parametrize(
    ("format_", "rate", "seconds"),
    [
        ("gif", Fraction(30), "3/100"),
        ("gif", Fraction(25), "4/100"),
        ("gif", Fraction(120), "2/100"),
        ("webp", Fraction(30), "33/1000"),
        ("png", Fraction(30000, 1001), "1001/30000"),
    ],
)
def test_times_are_the_nearest_that_a_format_can_tell(format_, rate, seconds):
    assert animations.delay(format_, rate) == Fraction(seconds)


def cut_off(name):
    rng = np.random.default_rng(0)
    path = written(name, [rng.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(4)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 5 // 8])
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_what_is_cut_off_is_read_as_far_as_it_goes(name):
    assert 1 <= len(animations.timeline(cut_off(name)).durations) <= 3


def test_a_webp_that_is_cut_off_is_refused_in_a_line():
    with pytest.raises(ImageError, match=r"a\.webp: .*") as caught:
        animations.timeline(cut_off("a.webp"))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written_is_said():
    with pytest.raises(ImageError, match=r"a\.webp: holds at most 16383 pixels a side, .* 20000 x 1$"):
        written("a.webp", [np.zeros((1, 20000, 3), np.uint8)])
    with (
        pytest.raises(ImageError, match=r"a\.gif: has no frames"),
        animations.writing(io.BytesIO(), Path("a.gif"), (4, 4), Fraction(1, 10)),
    ):
        pass
    huge = written("a.gif", [np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(ImageError, match="more than the limit of 10"):
        animations.timeline(huge, max_pixels=10)

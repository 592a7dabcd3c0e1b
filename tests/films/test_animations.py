import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_jax.errors import FilmError
from nst_jax.films import animations


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # none of this needs ffmpeg


def gif(name, milliseconds, size=(8, 8)):
    """Write a GIF with Pillow, whose pictures are grey, each its own."""
    greys = [Image.new("RGB", size, (20 * n,) * 3) for n in range(len(milliseconds))]
    greys[0].save(name, save_all=True, append_images=greys[1:], duration=milliseconds)
    return Path(name)


def greys(film, **options):
    return [int(frame[0, 0, 0]) // 20 for frame in animations.frames(film, **options)]


def test_constant_times_are_an_exact_rate():
    film = animations.probe(gif("a.gif", [40, 40, 40]))
    assert (film.rate, film.frames, film.is_variable, film.kind) == (25, 3, False, "animation")
    assert greys(film) == [0, 1, 2]
    assert greys(film, begin=2) == [2]


def test_varying_times_repeat_frames():
    said = []
    film = animations.probe(gif("a.gif", [50, 100, 200]))
    assert (film.rate, film.frames, film.seconds) == (20, 7, 0.35)
    assert greys(film, say=said.append) == [0, 1, 1, 2, 2, 2, 2]
    assert greys(film, begin=2) == [1, 2, 2, 2, 2]
    assert said == ["a.gif: its rate changes; 20 frames per second are taken"]


@pytest.mark.parametrize(
    ("hundredths", "tick", "rate", "is_variable"),
    [
        ([3, 3, 4] * 10, "1/100", "30", False),  # how other programs write 30 a second
        ([4, 4, 5, 4, 4, 4] * 8, "1/100", "24", False),
        ([5, 10, 20], "1/100", "20", True),
        ([10], "1/100", "10", False),
        ([1007, 3001], "1/100", "0.49900", True),  # its divisor would take 4008 frames
    ],
)
def test_rates(hundredths, tick, rate, is_variable):
    found = animations.rate_of([Fraction(n, 100) for n in hundredths], Fraction(tick))
    assert abs(found[0] - Fraction(rate)) < Fraction(1, 100) or len(hundredths) == 2
    assert found[1] == is_variable
    if is_variable:
        total = sum(hundredths) / 100
        assert found[0] * total <= 10 * len(hundredths) + 1  # bounded


def test_ntsc_is_known_in_milliseconds():
    times = [
        Fraction(round(1000 * (n + 1) * 1001 / 30000) - round(1000 * n * 1001 / 30000), 1000)
        for n in range(300)
    ]
    assert animations.rate_of(times, Fraction(1, 1000)) == (Fraction(30000, 1001), False)


def test_sampling_is_that_of_a_plain_count():
    rng = np.random.default_rng(0)
    durations = [Fraction(int(n), 100) for n in rng.integers(2, 50, 20)]
    rate = Fraction(13)
    ends = np.cumsum([int(each * 100) for each in durations])
    middles = (2 * np.arange(round(ends[-1] * 13 / 100)) + 1) * 50 / 13
    wanted = np.bincount(np.searchsorted(ends, middles, side="right"), minlength=20)
    assert animations.sampled(durations, rate) == tuple(wanted.tolist())


def test_another_rate_keeps_the_length():
    film = animations.probe(gif("a.gif", [100] * 10), Fraction(5))
    assert (film.rate, film.frames, film.seconds) == (5, 5, 1.0)
    assert greys(film) == [1, 3, 5, 7, 9]
    assert animations.probe(Path("a.gif"), Fraction(20)).frames == 20


def test_transparency_is_said_once():
    frames = [Image.new("RGBA", (8, 8), (0, 0, 0, 0)) for _ in range(3)]
    for n, frame in enumerate(frames):
        frame.putpixel((n, 0), (255, 0, 0, 255))
    frames[0].save("a.gif", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    said = []
    seen = list(animations.frames(animations.probe(Path("a.gif")), said.append))
    assert [frame[4, 4].tolist() for frame in seen] == [[255] * 3] * 3
    assert said == ["a.gif: is transparent in parts; white is put behind"]


def test_what_is_cut_off_is_said():
    rng = np.random.default_rng(0)
    path, said = Path("a.png"), []
    with animations.writing(path, (32, 32), Fraction(10)) as write:
        for _ in range(4):
            write(rng.integers(0, 256, (32, 32, 3), np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 5 // 8])
    film = animations.probe(path)
    assert len(list(animations.frames(film, said.append))) == film.frames == 2
    assert len(said) == 1
    assert said[0].startswith("a.png: is damaged or cut short")
    assert said[0].endswith("2 frames of it are there")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_writing_says_what_a_format_cannot_hold_and_keeps_loops(name):
    said = []
    with animations.writing(Path(name), (4, 6), Fraction(30), loops=3, say=said.append) as write:
        for n in range(3):
            write(np.full((4, 6, 3), 20 * n, np.uint8))
    film = animations.probe(Path(name))
    assert (film.width, film.height, film.frames, film.loops) == (6, 4, 3, 3)
    rates = {"a.gif": Fraction(100, 3), "a.webp": Fraction(1000, 33), "a.png": Fraction(30)}
    assert film.rate == rates[name]
    words = {"a.gif": "33.33", "a.webp": "30.3"}
    assert said == [
        f"{name}: cannot hold 30 frames per second, and has {words[n]}" for n in words if n == name
    ]


def test_a_failure_leaves_the_old_one_and_links_stay():
    Path("real.gif").write_bytes(b"old")
    Path("link.gif").symlink_to("real.gif")
    for fails in (True, False):
        try:
            with animations.writing(Path("link.gif"), (4, 4), Fraction(10)) as write:
                write(np.zeros((4, 4, 3), np.uint8))
                assert not fails or 1 / 0
        except ZeroDivisionError:
            assert Path("real.gif").read_bytes() == b"old"
    assert Path("link.gif").is_symlink()
    assert animations.probe(Path("real.gif")).frames == 1
    assert sorted(os.listdir()) == ["link.gif", "real.gif"]


def test_animations_have_no_codec():
    animations.check_output(Path("a.gif"), None)
    with pytest.raises(FilmError, match=r"a\.gif: \.gif has no choice of codecs; leave h264 out"):
        animations.check_output(Path("a.gif"), "h264")

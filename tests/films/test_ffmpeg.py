import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from nst_jax.errors import FilmError
from nst_jax.films import codecs, ffmpeg, program


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        missing = "needs ffmpeg and ffprobe"
        if os.environ.get("NST_JAX_FFMPEG") == "required":
            pytest.fail(missing)
        pytest.skip(missing)


def run(*words):
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)], check=False, capture_output=True
    )
    assert not done.returncode, done.stderr.decode()


def made(name, *options, size="64x48", rate="25", seconds=1, sound=()):
    """Make a film of a test pattern with ffmpeg itself."""
    picture = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}:duration={seconds}"]
    tone = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}", *sound] if sound else []
    run(*picture, *tone, *options, name)
    return Path(name)


def probed(path, what):
    """Return what ffprobe says, which this program does not use."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_frames", "-of", "csv=p=0"]
    command += ["-show_entries", f"stream={what}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().rstrip(",")


def packets(path):
    """Return the digest of a film's sound, packet by packet, as it is stored."""
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:a", "-c", "copy", "-f", "md5", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def repainted(source, target, **options):
    """Write the frames of a film as they are to another."""
    film = ffmpeg.probe(Path(source))
    with ffmpeg.writing(Path(target), (film.height, film.width), film.rate, **options) as write:
        for frame in ffmpeg.frames(film):
            write(frame)
    return ffmpeg.probe(Path(target))


@pytest.mark.parametrize("rate", ["24000/1001", "25", "30", "30000/1001", "12"])
@pytest.mark.parametrize("size", ["64x48", "65x49", "66x49"])
def test_rate_size_and_count_are_kept(rate, size):
    source = made("a.mkv", "-c:v", "ffv1", size=size, rate=rate)
    film = ffmpeg.probe(source)
    assert film.rate == Fraction(rate)
    assert f"{film.width}x{film.height}" == size
    count = int(probed(source, "nb_read_frames"))
    assert abs(film.frames - count) <= 1
    repainted(source, "b.mp4")
    assert probed("b.mp4", "nb_read_frames") == str(count)
    assert probed("b.mp4", "width,height") == size.replace("x", ",")
    assert Fraction(probed("b.mp4", "r_frame_rate")) == Fraction(rate)


def test_lossless_frames_are_exact_and_others_near():
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), np.uint8)
    smooth = np.repeat(np.repeat(frames[:, ::8, ::8], 8, 1), 8, 2)
    for name, codec, most in (("a.mkv", "ffv1", 0), ("b.mp4", "h264", 12)):
        with ffmpeg.writing(Path(name), (32, 48), Fraction(10), codec=codec) as write:
            for frame in smooth:
                write(frame)
        back = np.stack(list(ffmpeg.frames(ffmpeg.probe(Path(name)))))
        inside = np.abs(back.astype(int) - smooth)[:, 3::8, 3::8]  # the middle of each square
        assert inside.max() <= most


@pytest.mark.parametrize(
    "colour", [(200, 30, 40), (20, 180, 60), (30, 60, 220), (128, 128, 128), (255, 255, 255)]
)
def test_plain_colours_come_back(colour):
    with ffmpeg.writing(Path("a.mp4"), (32, 32), Fraction(10)) as write:
        for _ in range(3):
            write(np.full((32, 32, 3), colour, np.uint8))
    back = np.stack(list(ffmpeg.frames(ffmpeg.probe(Path("a.mp4")))))
    assert np.abs(back.astype(int) - colour).max() <= 3
    assert probed("a.mp4", "pix_fmt,color_range,color_space") == "yuv420p,tv,bt709"


@pytest.mark.parametrize(
    ("name", "sound"),
    [("a.mp4", ["-c:a", "aac"]), ("a.mov", ["-c:a", "pcm_s16le"]), ("a.mkv", ["-c:a", "flac"])],
)
def test_sound_is_copied_bit_for_bit(name, sound):
    source, said = made(name, "-c:v", "libx264", sound=sound), []
    assert ffmpeg.probe(source).has_sound
    target = f"b{Path(name).suffix}"
    assert repainted(source, target, sound=source, say=said.append).has_sound
    assert packets(target) == packets(name)
    assert not said


def test_sound_that_a_file_cannot_hold_is_encoded():
    source, said = made("a.mkv", "-c:v", "libx264", sound=["-c:a", "pcm_s16le"]), []
    assert repainted(source, "b.mp4", sound=source, say=said.append).has_sound
    assert said == ["b.mp4: cannot hold the sound of a.mkv as it is, so that is encoded as AAC"]


def test_a_film_without_sound_has_none():
    source = made("a.mp4")
    assert not ffmpeg.probe(source).has_sound
    assert not repainted(source, "b.mp4", sound=source).has_sound


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_what_metadata_turns_is_upright(turn):
    made("a.mp4", size="65x48")
    plain = next(ffmpeg.frames(ffmpeg.probe(Path("a.mp4"))))
    run("-display_rotation", -turn, "-i", "a.mp4", "-c", "copy", "b.mp4") if _can_turn() else run(
        "-i", "a.mp4", "-c", "copy", "-metadata:s:v:0", f"rotate={turn}", "b.mp4"
    )
    film = ffmpeg.probe(Path("b.mp4"))
    matrix = json.loads(side_data("b.mp4"))["streams"][0]["side_data_list"][0]
    assert abs(matrix["rotation"]) == (turn if turn <= 180 else 90)
    turned = np.rot90(plain, matrix["rotation"] // 90)  # against the clock
    assert (film.height, film.width) == turned.shape[:2]
    assert np.abs(next(ffmpeg.frames(film)).astype(int) - turned).max() <= 8
    repainted("b.mp4", "c.mp4", sound=Path("b.mp4"))
    assert probed("c.mp4", "width,height") == f"{film.width},{film.height}"
    assert ffmpeg.probe(Path("c.mp4")).width == film.width  # it is not turned again


def side_data(name):
    command = ["ffprobe", "-v", "error", "-show_entries", "stream_side_data=rotation", "-of", "json", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _can_turn():
    done = subprocess.run(["ffmpeg", "-h", "full"], capture_output=True, text=True, check=False)
    return "display_rotation" in done.stdout


TEN = ["-c:v", "libx265", "-pix_fmt", "yuv420p10le"]


def test_ten_bits_and_hdr_are_said():
    said = []
    list(ffmpeg.frames(ffmpeg.probe(made("a.mkv", *TEN)), said.append))
    assert said == ["a.mkv: has 10 bits per channel; 8 are used"]
    hdr = ["-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc"]
    assert ffmpeg.probe(made("b.mkv", *TEN, *hdr)).is_hdr


def hdr_grey(name, level, *more):
    """Make a film in PQ that is one grey, of a share of the signal."""
    value = round(255 * level)
    run(
        "-f",
        "lavfi",
        "-i",
        f"color=c=0x{value:02x}{value:02x}{value:02x}:s=64x64:d=0.1:r=10",
        *TEN[:2],
        *more,
        name,
    )
    return ffmpeg.probe(Path(name))


PQ = ["-pix_fmt", "yuv420p10le", "-color_trc", "smpte2084"]


@pytest.mark.parametrize("tags", [["-color_primaries", "bt2020", "-colorspace", "bt2020nc"], []])
def test_hdr_is_mapped_to_a_plain_screen(tags):
    if not {"zscale", "tonemap"} <= program.filters():
        pytest.skip("needs an ffmpeg with zscale and tonemap")
    said, seen = [], []
    for number, level in enumerate((0.0, 0.3, 0.508, 0.75)):  # 0.508 of the signal is 100 cd/m²
        film = hdr_grey(f"{number}.mkv", level, *PQ, *tags)
        seen.append(next(ffmpeg.frames(film, said.append))[30, 30].astype(int))
    assert np.ptp(seen, axis=1).max() <= 2  # what is grey stays grey
    grey = np.array(seen)[:, 0]
    assert (np.diff(grey) > 20).all()
    assert grey[0] <= 2
    assert grey[2] > 140  # taken for a plain screen's it would be 130
    assert said[0] == "0.mkv: is in HDR; its colours are mapped to those of a plain screen"


def test_hlg_is_mapped_too():
    if not {"zscale", "tonemap"} <= program.filters():
        pytest.skip("needs an ffmpeg with zscale and tonemap")
    hlg = ["-pix_fmt", "yuv420p10le", "-color_trc", "arib-std-b67"]
    films = [hdr_grey(f"{i}.mkv", level, *hlg) for i, level in enumerate((0.0, 0.3, 0.5, 0.75, 1.0))]
    assert all(film.is_hdr for film in films)
    seen = np.array([next(ffmpeg.frames(film, print))[30, 30].astype(int) for film in films])
    assert np.ptp(seen, axis=1).max() <= 2
    assert (np.diff(seen[:, 0]) > 20).all()
    # The curve is made to look right on plain screens (ITU-R BT.2390): greys are about what they were.
    assert seen[:, 0] == pytest.approx([0, 77, 128, 191, 255], abs=8)


def test_hdr_that_this_ffmpeg_cannot_map_is_said(monkeypatch):
    monkeypatch.setattr(ffmpeg, "filters", lambda: frozenset({"scale"}))
    said = []
    list(ffmpeg.frames(hdr_grey("a.mkv", 0.5, *PQ), said.append))
    assert said == [
        "a.mkv: is in HDR; its colours are taken for those of a plain screen, and look flat: this ffmpeg has "
        "no zscale and tonemap"
    ]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_changing_rate_is_said_and_made_constant(name):
    some = ["-vf", r"select=lt(t\,1)+not(mod(n\,3))", "-vsync", "vfr"]
    film = ffmpeg.probe(made(name, *some, "-c:v", "libx264", rate="30", seconds=3))
    assert (film.is_variable, film.rate) == (True, 30)
    said = []
    assert abs(len(list(ffmpeg.frames(film, said.append))) - 90) <= 3  # the last is not held
    assert said == [f"{name}: its rate changes; 30 frames per second are taken"]


def test_times_are_looked_at_in_part_of_a_large_film(monkeypatch):
    path = made("a.mkv", "-c:v", "ffv1", rate="30", seconds=4)
    assert len(ffmpeg._times(path)) == 120
    monkeypatch.setattr(ffmpeg, "_READ", path.stat().st_size // 2)
    assert 0 < len(ffmpeg._times(path)) < 60
    assert not ffmpeg.probe(path).is_variable


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.webm"])
@pytest.mark.parametrize("rate", ["24000/1001", "50"])
def test_a_constant_rate_is_known_for_one(name, rate):
    film = ffmpeg.probe(made(name, rate=rate, seconds=2))
    assert (film.is_variable, film.rate) == (False, Fraction(rate))


def test_another_rate_keeps_the_length():
    film = replace(
        ffmpeg.probe(made("a.mkv", "-c:v", "ffv1", rate="30")), rate=Fraction(10), is_resampled=True
    )
    assert film.frames == len(list(ffmpeg.frames(film))) == 10


@pytest.mark.parametrize("pixels", ["yuvj420p", "yuv420p"])
def test_full_range_is_read_as_such(pixels):
    colour = ("-f", "lavfi", "-i", "color=c=0xC83232:s=64x64:d=0.1:r=10")
    made_of = (
        "-vf",
        f"scale=out_range=pc,format={pixels}",
        "-color_range",
        "pc",
        "-c:v",
        "mjpeg",
        "-q:v",
        "1",
    )
    run(*colour, *made_of, "-strict", "-1", "a.mkv")
    frame = next(ffmpeg.frames(ffmpeg.probe(Path("a.mkv"))))
    assert np.abs(frame[30, 30].astype(int) - [200, 50, 50]).max() <= 3


EVERY = [("a.mp4", "h265"), ("a.webm", None), ("a.mkv", "vp9"), ("a.mp4", "av1"), ("a.mov", "prores")]


@pytest.mark.parametrize(("name", "codec"), EVERY)
@pytest.mark.parametrize("size", [(49, 65), (64, 96)])
def test_every_codec_keeps_size_rate_count_and_colours(name, codec, size):
    if not program.encoders() & set(codecs.CODECS[codec or "vp9"].encoders):
        pytest.skip(f"needs an ffmpeg with {codec}")
    colour = (60, 120, 180)
    with ffmpeg.writing(Path(name), size, Fraction(30000, 1001), codec=codec) as write:
        for _ in range(3):
            write(np.full((*size, 3), colour, np.uint8))
    asked = "codec_name,width,height,r_frame_rate,nb_read_frames"
    names = {"h265": "hevc", None: "vp9"}
    assert probed(name, asked) == f"{names.get(codec, codec)},{size[1]},{size[0]},30000/1001,3"
    back = np.stack(list(ffmpeg.frames(ffmpeg.probe(Path(name)))))
    assert np.abs(back.astype(int) - colour).max() <= 4


def test_quality_goes_one_way():
    for codec in codecs.CODECS:
        scales = [codecs.scale_of(codec, quality) for quality in range(1, 101)]
        assert scales == sorted(scales, reverse=True)
        assert codecs.scale_of(codec, None) == scales[codecs.GOOD - 1]
    assert codecs.scale_of("h264", None) == 16
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = []
    for quality in (10, 50, 90):
        with ffmpeg.writing(Path("a.mp4"), (64, 64), Fraction(10), quality=quality) as write:
            write(noise)
        sizes.append(Path("a.mp4").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]


def test_what_this_ffmpeg_cannot_encode_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(codecs, "encoders", lambda: frozenset({"libx264", "ffv1"}))
    words = "a.mp4: this ffmpeg has no libsvtav1 or libaom-av1 for av1; it has h264, ffv1"
    with pytest.raises(FilmError, match=words):
        ffmpeg.check_output(Path("a.mp4"), "av1")


def streams(path):
    """Return the digests of all sound, packet by packet, and all that else is there, as ffprobe says it."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-c", "copy", "-f", "streamhash", "-"]
    sound = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries = "stream=codec_name,codec_type:stream_tags=language:format_tags=title:chapter_tags=title"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-show_chapters", "-of", "json", path]
    return sound, json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def with_everything(*sounds):
    """Make a film with two sounds, subtitles, chapters and a title."""
    Path("a.srt").write_text("1\n00:00:00,000 --> 00:00:00,800\nhello\n")
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/10\nSTART={a}\nEND={a + 5}\ntitle=part {a}\n" for a in (0, 5))
    Path("a.txt").write_text(f";FFMETADATA1\ntitle=My film\n{chapters}")
    tones = [
        word for tone in (440, 880) for word in ("-f", "lavfi", "-i", f"sine=frequency={tone}:duration=1")
    ]
    maps = [
        "-i",
        "a.srt",
        "-i",
        "a.txt",
        *(word for n in range(4) for word in ("-map", n)),
        "-map_metadata",
        "4",
    ]
    kinds = [word for n, kind in enumerate(sounds) for word in (f"-c:a:{n}", kind)]
    words = ["-metadata:s:a:0", "language=deu", "-metadata:s:a:1", "language=fra", "-c:s", "srt"]
    return made("all.mkv", *tones, *maps, *kinds, *words, "-c:v", "libx264")


@pytest.mark.parametrize(
    ("name", "sounds", "kinds", "words"),
    [
        ("b.mkv", ("flac", "pcm_s16le"), ["flac", "pcm_s16le", "subrip"], []),
        ("b.mp4", ("aac", "ac3"), ["aac", "ac3", "mov_text"], []),
        ("b.mp4", ("aac", "pcm_s16le"), ["aac", "aac", "mov_text"], ["AAC"]),
        ("b.webm", ("flac", "pcm_s16le"), ["opus", "opus", "webvtt"], ["Opus"]),
    ],
)
def test_all_sound_subtitles_chapters_and_titles_are_kept(name, sounds, kinds, words):
    source, said = with_everything(*sounds), []
    repainted(source, name, sound=source, say=said.append)
    before, after = streams(source), streams(name)
    assert said == [
        f"{name}: cannot hold the sound of all.mkv as it is, so that is encoded as {word}" for word in words
    ]
    same = len(set(before[0].splitlines()) & set(after[0].splitlines()))
    assert same == sum(a == b for a, b in zip(sounds, kinds, strict=False))
    found = [each for each in after[1]["streams"] if each["codec_type"] in ("audio", "subtitle")]
    assert [each["codec_name"] for each in found] == kinds
    assert [each["tags"]["language"] for each in found[:2]] == ["deu", "fra"]
    assert [each["tags"]["title"] for each in after[1]["chapters"]] == ["part 0", "part 5"]
    assert after[1]["format"]["tags"]["title"] == "My film"


def test_a_symbolic_link_stays_and_its_film_is_replaced():
    Path("elsewhere").mkdir()
    Path("elsewhere/real.mp4").write_bytes(b"old")
    Path("link.mp4").symlink_to("elsewhere/real.mp4")
    zeros("link.mp4", 2)
    assert Path("link.mp4").is_symlink()
    assert ffmpeg.probe(Path("elsewhere/real.mp4")).width == 16
    assert os.listdir("elsewhere") == ["real.mp4"]


def test_one_frame():
    source = made("a.mp4", "-frames:v", "1")
    assert len(list(ffmpeg.frames(ffmpeg.probe(source)))) == 1
    repainted(source, "b.mp4")
    assert probed("b.mp4", "nb_read_frames") == "1"


def test_what_comes_later_is_the_same_from_there_on():
    film = ffmpeg.probe(made("a.mp4"))
    every = list(ffmpeg.frames(film))
    later = list(ffmpeg.frames(film, begin=7))
    assert len(later) == len(every) - 7
    np.testing.assert_array_equal(later[0], every[7])


def test_a_reader_that_stops_early_leaves_no_process():
    film = ffmpeg.probe(made("a.mp4", seconds=20, size="640x480"))
    reading = ffmpeg.frames(film)
    next(reading)
    process = reading.gi_frame.f_locals["process"]
    reading.close()
    assert process.returncode is not None


def test_a_film_that_is_cut_off_gives_what_there_is():
    whole = made("a.mkv", "-c:v", "ffv1").read_bytes()
    Path("b.mkv").write_bytes(whole[: len(whole) // 2])
    said = []
    given = list(ffmpeg.frames(ffmpeg.probe(Path("b.mkv")), said.append))
    assert 0 < len(given) < 25
    assert all("\n" not in line for line in said)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("nowhere.mp4", None, "nowhere.mp4: no such file"),
        ("text.mp4", b"dear diary" * 100, "text.mp4: is no film that ffmpeg can read"),
        ("empty.mp4", b"", "empty.mp4: is no film"),
    ],
)
def test_what_is_no_film_is_said_in_a_line(name, data, words):
    if data is not None:
        Path(name).write_bytes(data)
    with pytest.raises(FilmError, match=words) as caught:
        ffmpeg.probe(Path(name))
    assert "\n" not in str(caught.value)
    Path("folder").mkdir()
    with pytest.raises(FilmError, match="folder: is a folder"):
        ffmpeg.probe(Path("folder"))


def test_sound_alone_is_no_film():
    run("-f", "lavfi", "-i", "sine=duration=1", "a.wav")
    with pytest.raises(FilmError, match=r"a\.wav: has sound, but no moving pictures"):
        ffmpeg.probe(Path("a.wav"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.txt"])
def test_pictures_and_texts_of_which_ffmpeg_makes_frames_are_no_films(name):
    if name == "a.txt":
        Path(name).write_text("dear diary\n" * 500)
    else:
        made(name, "-frames:v", "1")
    with pytest.raises(FilmError, match=r"a\....: is a (picture|text), not a film"):
        ffmpeg.probe(Path(name))


def test_a_picture_on_a_cover_is_no_film():
    made("cover.jpg", "-frames:v", "1")
    cover = ("-i", "cover.jpg", "-map", "0", "-map", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic")
    run("-f", "lavfi", "-i", "sine=duration=1", *cover, "-c:a", "aac", "a.m4a")
    with pytest.raises(FilmError, match="no moving pictures"):
        ffmpeg.probe(Path("a.m4a"))


def test_a_title_is_not_taken_for_what_ffmpeg_says():
    title = "title=Stream #0:9: Audio: fake"
    assert not ffmpeg.probe(made("a.mp4", "-c:v", "libx264", "-metadata", title)).has_sound


@pytest.mark.parametrize(("size", "matrix"), [("1280x640", "bt709"), ("640x480", "bt601")])
def test_colours_of_a_film_that_does_not_say_are_those_of_its_size(size, matrix):
    colour = ("-f", "lavfi", "-i", f"color=c=0xC83232:s={size}:d=0.04")
    run(*colour, "-vf", f"scale=out_color_matrix={matrix},format=yuv420p", "-c:v", "ffv1", "a.mkv")
    (frame,) = ffmpeg.frames(ffmpeg.probe(Path("a.mkv")))
    assert np.abs(frame[10, 10].astype(int) - [200, 50, 50]).max() <= 3


def test_codecs_and_suffixes_that_do_not_go_together_are_refused():
    for name, codec, words in (
        ("a.mp4", "av9", "av9: is no codec; allowed: h264"),
        ("a.txt", "h264", r"a\.txt: h264 is not for \.txt; use \.mp4"),
        ("a.mp4", "ffv1", r"ffv1 is not for \.mp4; use \.mkv"),
    ):
        with pytest.raises(FilmError, match=words):
            ffmpeg.check_output(Path(name), codec)


def zeros(path, count, fail=False):
    with ffmpeg.writing(Path(path), (16, 16), Fraction(5)) as write:
        for _ in range(count):
            write(np.zeros((16, 16, 3), np.uint8))
        if fail:
            raise ZeroDivisionError


def test_a_failure_leaves_the_old_film_and_nothing_else():
    Path("a.mp4").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        zeros("a.mp4", 1, fail=True)
    with pytest.raises(FilmError, match="cannot be written"):
        zeros("nowhere/a.mp4", 5000)
    assert os.listdir() == ["a.mp4"]
    assert Path("a.mp4").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["-dash.mp4", "with space.mp4", "quote's.mp4", "färbe%03d.mp4", "a:b.mp4"])
def test_odd_names(name):
    made("plain.mp4")
    Path("plain.mp4").rename(name)
    repainted(name, f"out {name}")
    assert Path(f"out {name}").exists()


def test_without_ffmpeg_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FilmError, match=r"there is no ffmpeg: .* pip install 'nst_jax\[video\]'"):
        program.ffmpeg()

"""Whatever is given, a command ends with a right picture, or with a line that says why not.

No traceback, no earlier file changed. Real files, real processes: see docs/robustness.md.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from makers import NARROW_PROCESS

from nst_jax import cli, images
from nst_jax.config import packaged

KILLS = int(os.environ.get("NST_JAX_KILLS", "4"))
"""Processes killed at random moments; more for a thorough look."""

QUICK = ["--size", "24", "--set", "network.normalised=false", "--evaluations", "2"]
SHALLOW = ["--set", "content.layers=[conv2_2]", "--set", "style.layers=[conv1_1, conv2_1]"]
SHALLOW += ["--set", "pyramid.levels=1"]
"""Of two blocks of the network, whose program is soon compiled."""


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(world, arguments, capsys):
    """Run a command in this process, and check what it leaves."""
    before = {
        path: data
        for path, data in everything(world).items()
        if path.with_suffix("") != world / "out" and world / "out.run" not in path.parents
    }
    code = cli.run(arguments)
    out, err = capsys.readouterr()
    assert code in (0, 1, 2), (code, err)
    assert "Traceback" not in err
    for path, data in before.items():
        assert path.read_bytes() == data, path
    if code == 2:
        assert out == ""
        assert err.startswith("nst-jax: ")
        assert all(line.startswith("nst-jax: ") for line in err.splitlines())
    elif "--output" not in arguments:
        assert np.isfinite(images.read("out.png").rgb).all()
    assert not list(world.rglob("*.partial"))
    return code


# --- Odd and wrong input, in this process ---------------------------------------------------------


def damaged(data, random):
    """Return bytes with some changed, left out, put in or cut off."""
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at, size = random.integers(len(data)), random.integers(1, 9)
        kind = random.integers(4)
        if kind == 0:
            data[at : at + size] = random.bytes(size)
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = random.bytes(size)
        else:
            del data[max(at, 1) :]
    return bytes(data)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_damaged_pictures(world, random, capsys, suffix):
    images.write(f"odd.{suffix}", np.float32(random.uniform(size=(30, 40, 3))))
    whole = Path(f"odd.{suffix}").read_bytes()
    roles = (["--content"], ["--style"], ["--init"], ["--style-map", "art.png", "--content-map"])
    for number in range(16):
        Path(f"odd.{suffix}").write_bytes(damaged(whole, random))
        role = roles[number % len(roles)]
        given = ["--content", "photo.png", "--style", "art.png", *role, f"odd.{suffix}", *QUICK, *SHALLOW]
        if len(role) > 1:
            given += ["--set", "style.kind=guided_gram"]
        check(world, given, capsys)


def test_damaged_weights(world, random, capsys):
    whole = Path("narrow.h5").read_bytes()
    for _ in range(30):
        Path("odd.h5").write_bytes(damaged(whole, random))
        given = ["--content", "photo.png", "--style", "art.png", "--weights", "odd.h5", *QUICK, *SHALLOW]
        check(world, given, capsys)


CONFIGS = {name: path for name, path in packaged().items() if not name.startswith(("papers/", "sweep"))}


@pytest.mark.parametrize("name", CONFIGS)
def test_damaged_configs(world, random, capsys, name):
    whole = CONFIGS[name].read_bytes()
    shallow = SHALLOW[2:] if b"layers" in whole else SHALLOW  # layers that it names are damaged too
    for _ in range(16):
        Path("odd.yaml").write_bytes(damaged(whole, random))
        given = ["--config", "odd.yaml", "--content", "photo.png", "--style", "art.png", *QUICK]
        check(world, [*given, *shallow, "--output", "out.png"], capsys)


VALUES = [
    "",
    " ",
    "0",
    "-1",
    "1e22",
    "nan",
    "inf",
    "null",
    "true",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "photo.png",
]
VALUES += [
    "x" * 300,
    "\udce9",
    "a\nb",
    "\x00",
    "~",
    "!!python/object:os.system",
    "&a [*a]",
    "sample:",
    "work:",
]
VALUES += [
    "..",
    "/",
    "/dev/null",
    "/dev/zero",
    "photo.png/",
    "http://localhost/a.png",
    "%s",
    "${HOME}",
    "ひと",
]
FLAGS = ["--content", "--style", "--init", "--size", "--seed", "--evaluations", "--style-weight", "--weights"]
FLAGS += [
    "--content-map",
    "--colour",
    "--output",
    "--save-every",
    "--memory-limit",
    "--config",
    "--set",
    "--replay",
    "--images",
]


@pytest.mark.parametrize("flag", FLAGS)
def test_odd_arguments(world, capsys, flag):
    for value in VALUES:
        given = ["--content", "photo.png", "--style", "art.png", *QUICK, *SHALLOW, flag, value]
        if "\0" not in value or flag == "--output":
            check(world, given, capsys)


def test_odd_settings(world, random, capsys):
    keys = [
        "style.layers",
        "content.layers",
        "style.crop",
        "style.scale",
        "solver.kind",
        "solver.history",
        "network.pool",
        "pyramid.levels",
        "loss.total_variation",
        "output.bits",
        "init",
        "precision",
        "sweep",
        "patch",
        "style",
        "images",
    ]
    for key in keys:
        for value in random.choice(VALUES, 8, replace=False):
            given = ["--content", "photo.png", "--style", "art.png", *QUICK, "--set", f"{key}={value}"]
            check(world, given, capsys)


# --- Real processes -------------------------------------------------------------------------------


def started(world, *arguments, evaluations="100000"):
    tests = str(Path(__file__).parent)
    given = ["--content", "photo.png", "--style", "art.png", *QUICK, *SHALLOW]
    given += ["--evaluations", evaluations, *arguments]
    environment = os.environ | {"NST_JAX_CACHE": str(world / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", NARROW_PROCESS, tests, *given],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_whole(path):
    if path.suffix == ".png":
        return np.isfinite(images.read(path).rgb).all()
    if path.suffix == ".json":
        return bool(json.loads(path.read_text()))
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_damages_nothing(world, random, number):
    """At a random moment, with an earlier result and files of the user in the way."""
    ours = ["--content", "photo.png", "--style", "art.png", *QUICK, *SHALLOW]
    assert cli.run([*ours, "--save-every", "1"]) == 0
    (world / "out.run" / "notes.txt").write_text("mine")
    for _ in range(KILLS // 2):
        before = everything(world)
        process = started(world, "--save-every", "3", "--seed", str(random.integers(100)))
        time.sleep(random.uniform(0, 4))
        process.send_signal(number)
        begun = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - begun < 20
        assert "Traceback" not in err
        assert process.returncode in (-number, 128 + number)
        assert out == "" or "out.png: interrupted after" in out
        for path, data in before.items():
            if path.parent == world and path.name != "out.png":
                assert path.read_bytes() == data
        assert (world / "out.run" / "notes.txt").read_text() == "mine"
        left = [*world.glob("out*"), *(world / "out.run").iterdir()]
        assert all(is_whole(path) for path in left if path.is_file())
    assert cli.run(ours) == 0
    assert not list(world.glob("*.partial"))


def test_two_processes_with_one_output(world):
    first = started(world)
    while not (metrics := world / "out.run.partial" / "metrics.jsonl").exists() or not metrics.read_text():
        assert first.poll() is None
        time.sleep(0.05)
    second = started(world, "--output", "out.jpg", evaluations="2")
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (2, "")
    assert f"out.jpg: is being painted by another run; give another --output: process {first.pid} on" in err
    third = started(world, evaluations="2")  # it has not been said how its picture is called
    out, err = third.communicate(timeout=60)
    assert third.returncode == 0
    assert "out-2.png: finished" in out
    first.terminate()
    assert "out.png: interrupted after" in first.communicate(timeout=60)[0]
    assert first.returncode == 143


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if (
        not hasattr(os, "geteuid")
        or os.geteuid() != 0
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("may not mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_costs_no_picture(world, small_disk, tmp_path, monkeypatch, capsys):
    """Its last bytes are taken in the middle of the run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Free", (), {"free": 2**40}))
    output = small_disk / "out.png"
    ours = ["--content", "photo.png", "--style", "art.png", *QUICK, *SHALLOW, "--output", str(output)]
    assert cli.run(ours) == 0
    before = output.read_bytes()
    capsys.readouterr()
    (small_disk / "rest").write_bytes(bytes(20_000))
    assert cli.run([*ours, "--seed", "1", "--evaluations", "60", "--save-every", "1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if "the picture is in" in line]
    assert "No space left on device" in line
    place = Path(line.rpartition("the picture is in ")[2])
    assert np.isfinite(images.read(place).rgb).all()
    if place != output:  # there was no room for it either, once the others were given up
        assert place.parent in (small_disk, tmp_path)
        assert output.read_bytes() == before

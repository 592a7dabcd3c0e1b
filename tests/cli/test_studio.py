"""The commands that serve a page, each in a process of its own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from makers import NARROW_PROCESS, nst

from nst_jax import cli, images
from nst_jax.runs import records

TESTS = Path(__file__).parents[1]
QUICK = [
    *("--content", "photo.png", "--style", "art.png", "--size", "24"),
    *("--set", "content.layers=[conv2_2]", "--set", "style.layers=[conv1_1]", "--set", "pyramid.levels=1"),
    *("--set", "network.normalised=false"),
]
ENDLESS = [*QUICK, "--evaluations", "100000000"]


class Command:
    """A command under way, and its page."""

    def __init__(self, *arguments):
        command = [sys.executable, "-c", NARROW_PROCESS, str(TESTS), *arguments]
        self.log = Path("log").open("w+")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.url = self.until(lambda: re.search(r"the page is at (\S+)/", self.said()))[1]

    def said(self):
        return Path("log").read_text()

    def until(self, what):
        end = time.monotonic() + 120
        while not (found := what()):
            assert time.monotonic() < end, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)
        return found

    def post(self, path, **body):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read()

    def told(self):
        """Return the runs, as a page that comes now is told of them."""
        found = {}
        with urllib.request.urlopen(self.url + "/events", timeout=60) as stream:
            name = ""
            for line in stream:
                name = line[7:].strip().decode() if line.startswith(b"event: ") else name
                if line.startswith(b"data: "):
                    data = json.loads(line[6:])
                    if name == "studio":
                        wanted = set(data["order"])
                    elif name == "run":
                        found[data["id"]] = data
                    if wanted <= set(found):
                        return found
        raise AssertionError("the stream ended")

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(120)


@contextlib.contextmanager
def running(*arguments):
    command = Command(*arguments)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()
        command.log.close()


def replayed(name):
    assert cli.run(["--replay", name, "--output", "again.png"]) == 0
    return images.read("again.png").rgb


def test_the_studio_from_start_to_end(world):
    with running("studio", *ENDLESS, "--no-browser", "--output", "mine") as studio:
        assert b"<html" in studio.get("/")
        assert json.loads(studio.get("/about"))["folder"] == "mine"
        assert studio.post("/runs", values={}) == {"run": 1}
        studio.until(lambda: studio.told()[1]["status"] == "running")
        studio.post("/runs/1/change", values={"style.strength": 0.7})
        studio.until(lambda: studio.told()[1]["changes"])
        assert studio.get("/runs/1/picture?after=0")[:2] == b"\xff\xd8"
        assert studio.end(signal.SIGINT) == 130
        assert "pictures go to mine; Ctrl-C ends the studio" in studio.said()
        assert "Traceback" not in studio.said()
    assert records.read_record(Path("mine/001.png"))["changes"][-1]["stop"]
    np.testing.assert_array_equal(replayed("mine/001.png"), images.read("mine/001.png").rgb)


def test_a_studio_in_which_nothing_is_painted_ends_well(world):
    with running("studio", "--no-browser") as studio:
        assert studio.end(signal.SIGTERM) == 0
    assert not Path("studio").exists()


def test_a_signal_as_soon_as_there_is_a_page_is_a_good_end_too(world, monkeypatch):
    monkeypatch.setattr("nst_jax.cli.studio.tell", lambda line: signal.raise_signal(signal.SIGTERM))
    assert cli.run(["studio", "--no-browser"]) == 0


def test_the_page_of_a_run_steers_it(world):
    with running(*ENDLESS, "--live", "--no-browser") as run:
        run.until(lambda: run.told()[1]["status"] == "running")
        assert json.loads(run.get("/about"))["mode"] == "run"
        run.post("/runs/1/change", values={"style.strength": 0.7})
        run.until(lambda: run.told()[1]["changes"])
        run.post("/runs/1/stop")
        assert run.process.wait(120) == 0
        assert "out.png: interrupted after" in run.said()
    np.testing.assert_array_equal(replayed("out.png"), images.read("out.png").rgb)


def test_a_run_that_is_paused_is_ended_by_a_signal_and_goes_on(world):
    with running(*ENDLESS, "--live", "--no-browser") as run:
        run.until(lambda: run.told()[1]["status"] == "running")
        run.post("/runs/1/pause")
        run.until(lambda: run.told()[1]["status"] == "paused")
        assert run.end(signal.SIGINT) == 130
        assert "to go on from here, give the same command again" in run.said()
    assert Path("out.png").exists()
    assert Path("out.run.partial/state.npz").exists()


def test_the_page_of_a_sweep(world):
    axes = ["--axis", "style.weight=[1, 10, 100]", "--axis", "seed=[0, 1]"]
    with running("sweep", *ENDLESS, *axes, "--live", "--no-browser", "--output", "grid") as sweep:
        sweep.until(lambda: sweep.told()[1]["status"] == "running")
        found = sweep.told()[1]
        assert (found["kind"], len(found["cells"])) == ("sweep", 6)
        sweep.post("/runs/1/pause")
        sweep.until(lambda: sweep.told()[1]["status"] == "paused")
        sweep.post("/runs/1/stop")
        assert sweep.process.wait(120) == 0
        assert "the same command goes on from here" in sweep.said()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["studio", "--port", "x"], "--port x: should be a number from 0 to 65535"),
        (["studio", "--port", "99999"], "--port 99999: should be a number"),
        (["studio", "--host", "nowhere.invalid", "--no-browser"], "nowhere.invalid"),
        (["studio", "--config", "sweep_tradeoff"], "sweep.axes: the studio begins with one picture"),
        (["studio", "--content", "nowhere.png"], "nowhere.png: no such file"),
        (["--live", "--style", "art.png"], "no content image given"),
        (["studio", "--size", "no"], "--size: size: should be a number of pixels"),
        (
            ["--content", "photo.png", "--style", "art.png", "--port", "1"],
            "--port is of the page that --live",
        ),
        (["sweep", "--config", "sweep_tradeoff", "--no-browser"], "--no-browser is of the page that --live"),
    ],
)
def test_mistakes(world, arguments, words, capsys):
    before = sorted(world.iterdir())
    assert cli.run(arguments) == 2
    assert words in capsys.readouterr().err
    assert sorted(world.iterdir()) == before


def test_a_port_that_is_taken(world, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.run(["studio", "--no-browser", "--port", str(port)]) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_help_is_there_at_once_and_without_jax():
    found = nst("studio", "--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert "Ctrl-C ends it, and saves the picture" in found.stdout
    assert "| jax\n" not in found.stderr


def test_its_settings_are_printed(world, capsys):
    assert cli.run(["studio", "--print-config", "--strength", "0.3"]) == 0
    assert "strength: 0.3" in capsys.readouterr().out


def test_a_browser_is_opened_where_there_is_a_screen(world, monkeypatch):
    from nst_jax.cli import studio

    opened = []
    monkeypatch.setattr(studio.webbrowser, "open", opened.append)
    monkeypatch.setattr(studio.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    for display, wanted in ((":0", 1), ("", 0)):
        monkeypatch.setenv("DISPLAY", display)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        opened.clear()
        assert cli.run(["studio"]) == 0
        assert len(opened) == wanted

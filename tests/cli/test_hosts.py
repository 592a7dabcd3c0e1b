import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nst_jax import cli, images
from nst_jax.cli.hosts import shown
from nst_jax.transfer.hosts import LOST

PROCESS = """
import functools, os, sys
sys.path.insert(0, sys.argv[1])
stop, sys.argv[1:] = int(sys.argv[2]), sys.argv[3:]
from makers import NARROW
from nst_jax.transfer import hosts
hosts.PATIENCE = 3 if stop == -1 else 120
from nst_jax.cli.process import Interruption
watching = Interruption.watching
def stopping(self, show):
    watch, seen = watching(self, show), []
    def watch_and_stop(progress):
        seen.append(progress)
        if stop > 0 and len(seen) == 2:
            os.kill(os.getpid(), stop)
        return watch(progress)
    return watch_and_stop
Interruption.watching = stopping
import nst_jax.runs.inputs as inputs
real = inputs.network
def narrow(*args, **options):
    from nst_jax.pretrained import files
    files.read = functools.partial(files.read, blocks=NARROW)
    return real(*args, **options)
inputs.network = narrow
from nst_jax.__main__ import main
main()
"""
"""A command in a process, on narrow networks. Arguments: the folder of the tests, the signal that comes at
the second look (0: none; -1: nor is there patience), and the command's own."""

BASE = ["--content", "photo.png", "--style", "art.png", "--size", "64", "--set", "output.bits=16"]
BASE += ["--set", "pyramid.levels=1", "--set", "network.normalised=false", "--evaluations", "12"]
BASE += ["--set", "content.layers=[conv2_2]", "--set", "style.layers=[conv1_1, conv2_1]"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def begun(where, *arguments, stop=0, folder=None):
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parents[1]), str(stop), *BASE]
    command += ["--hosts", where, *arguments]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(*processes):
    found = [process.communicate(timeout=200) for process in processes]
    return [(process.returncode, *each) for process, each in zip(processes, found, strict=True)]


def both(*arguments, stop=0, more=()):
    """Return how two hosts have ended, which share no folder; the second has a signal, or more arguments."""
    where = f"127.0.0.1:{free_port()},2"
    first = begun(f"{where},0", *arguments)
    return ended(first, begun(f"{where},1", *arguments, *more, stop=stop, folder="elsewhere"))


@pytest.fixture
def tall(world, random):
    images.write(world / "photo.png", np.float32(random.uniform(size=(64, 40, 3))))
    (world / "elsewhere").mkdir()
    for name in ("photo.png", "art.png"):
        (world / "elsewhere" / name).write_bytes((world / name).read_bytes())
    return world


def test_a_run_of_two_hosts_is_interrupted_and_goes_on(tall):
    first, second = both("--output", "out.png", stop=15)
    assert first[0] == 130
    assert "to go on from here, give the same command again" in first[2]
    assert second[0] == 143
    assert second[1] == ""
    assert "stopping after this step" in second[2]
    assert (tall / "out.run.partial" / "state.npz").is_file()
    first, second = both("--output", "out.png")
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "going on after" in first[2]
    assert "finished after 12 evaluations" in first[1]
    assert second[1] == ""
    assert second[2] == "nst-jax: waiting for the other hosts\n"
    assert cli.run([*BASE, "--output", "alone.png", "--set", "pyramid.variables=pixels"]) == 0
    ours, other = (images.read(tall / name).rgb for name in ("out.png", "alone.png"))
    np.testing.assert_allclose(ours, other, atol=1e-3)
    assert not (tall / "out.run.partial").exists()
    assert len(list((tall / "elsewhere").iterdir())) == 2


def test_a_host_that_is_killed_ends_the_others(tall):
    first, second = both("--output", "out.png", stop=9)
    assert second[0] == -9
    assert first[0] in (2, -6)
    assert first[2].splitlines()[-1].endswith(LOST)
    assert first[2].count(LOST) == 1
    assert "***" not in first[2]
    assert "Traceback" not in first[2]


def test_hosts_are_given_the_same(tall):
    images.write(tall / "elsewhere" / "art.png", images.read(tall / "art.png").rgb[::-1])
    for more, what in (
        (["--set", "style.weight=7"], "host 1 was given something else: style.weight is 7"),
        ([], "host 1 was given something else: the style image is"),
        (["--style", "missing.png"], "missing.png: no such file"),
    ):
        for code, out, error in both("--output", "out.png", more=more):
            assert (code, out) == (2, ""), error
            assert what in error.splitlines()[-1], error
    assert not list(tall.glob("out*"))


def test_the_first_host_is_not_there_or_alone(tall):
    where = f"127.0.0.1:{free_port()},2,"
    second, first = ended(begun(f"{where}1", stop=-1), begun(f"127.0.0.1:{free_port()},2,0", stop=-1))
    assert second[0] == 2
    assert second[2].startswith(
        f"nst-jax: --hosts: the first host, {where[:-3]}, cannot be reached within 3 s"
    )
    assert second[2].count("\n") == 1
    assert first[0] == -6
    assert first[2].count("\n") == 2
    assert "not all hosts have come within" in first[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hosts", "here"], "--hosts here: should be auto, or COORDINATOR:PORT,COUNT,NUMBER"),
        (["--hosts", "a:1,2,2"], "a number from 0 to COUNT - 1"),
        (["--hosts", "a:99999,2,1"], "a port to 65535"),
        (["--hosts", "auto", "--live"], "--live: a run on several hosts is not steered"),
        (["sweep", "--hosts", "auto"], "the pictures of nst-jax sweep are independent"),
        (["batch", "--hosts=auto"], "the pictures of nst-jax batch are independent"),
    ],
)
def test_what_cannot_be(arguments, message, world, capsys):
    more = [] if arguments[0] in ("sweep", "batch") else ["--content", "photo.png", "--style", "art.png"]
    assert cli.run([*arguments, *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_last_words_of_the_service_are_one_line():
    before = [b"hello\n", b"[Gloo] Rank 0 is connected\n", b"bye\n"]
    fatal = b"F1127 08:43:47.7 17083 client.h:80] Terminating process because the JAX distributed service\n"
    stack = [b"*** Check failure stack trace: ***\n", b"    @ 0x7fe\n"]
    assert list(shown(before)) == [b"hello\n", b"bye\n"]
    for words, meaning in (
        (b"RPC: /xla.coordination.CoordinationService/RegisterTask\n", "not all hosts have come"),
        (b"INVALID_ARGUMENT: Unexpected task registered with task=2 RegisterTask\n", "do not agree"),
        (b"The following tasks are unhealthy (stopped sending heartbeats)\n", LOST),
    ):
        *others, last = shown([*before, fatal, words, *stack])
        assert others == [b"hello\n", b"bye\n"]
        assert meaning in last.decode()
    assert list(shown([fatal, *stack, b"nst-jax: quiet\n"])) == []

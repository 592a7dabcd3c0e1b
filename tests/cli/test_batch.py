import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from nst_jax import cli, config
from nst_jax.cli import batch as command

pytestmark = pytest.mark.usefixtures("world")

ARGUMENTS = ["--style", "art.png", "--size", "24", "--evaluations", "3", "--set", "network.normalised=false"]


def nst(*arguments):
    return cli.run(["batch", *arguments, *ARGUMENTS])


def test_a_batch_and_again(capsys):
    assert nst("photo.png", "--output", "out", "sample:coffee") == 0
    assert re.fullmatch(r"out: 2 painted, [\d.]+ s\n", capsys.readouterr().out)
    assert sorted(path.name for path in Path("out").iterdir()) == ["coffee.png", "photo.png"]
    assert nst("photo.png", "sample:coffee", "--output", "out") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"out: 0 painted, 2 done already, [\d.]+ s\n", out)
    assert "2 of 2 are done already" in err


def test_sharing_as_one_goes(capsys):
    assert nst("photo.png", "sample:coffee", "--output", "out", "--shard", "auto") == 0
    assert re.fullmatch(r"out: 2 painted, [\d.]+ s\n", capsys.readouterr().out)
    assert sorted(path.name for path in Path("out").iterdir()) == ["coffee.png", "photo.png"]
    assert nst("photo.png", "sample:coffee", "--output", "out", "--shard", "auto") == 0
    assert re.fullmatch(r"out: 0 painted, 2 done already, [\d.]+ s\n", capsys.readouterr().out)


def test_faults_are_listed_at_the_end_and_in_the_exit_code(capsys):
    Path("text.jpg").write_text("no picture")
    assert nst("text.jpg", "photo.png", "--output", "{name}_new.jpg") == 1
    out, err = capsys.readouterr()
    assert "1 painted, 1 could not be" in out
    assert err.splitlines()[-1].startswith("nst-jax: text.jpg: is not an image")
    assert Path("photo_new.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([], "nothing to do"),
        (["none"], "none: no such file or folder"),
        (["photo.png", "--content", "photo.png"], "unrecognized arguments: --content"),
        (["photo.png", "--output", "{x}.png"], "allowed: {name}, {style}"),
        (["photo.png", "--set", "style.layers=[conv9_1]"], "conv9_1"),
        (["photo.png", "--shard", "1/4"], "--shard 1/4: a batch is shared by --shard auto"),
        (["photo.png", "--shard", "1/4", "--dry-run"], "--shard 1/4: a batch is shared by --shard auto"),
        (["photo.png", "--shard", "auto", "--ray"], "leave out --shard"),
    ],
)
def test_mistakes(capsys, arguments, phrase):
    assert nst(*arguments) == 2
    assert phrase in capsys.readouterr().err


def test_settings_and_a_dry_run(world, capsys):
    before = sorted(world.iterdir())
    assert nst("photo.png", "--print-config") == 0
    printed, _, problems = config.parse(capsys.readouterr().out, name="")
    assert not problems
    assert config.load(base=printed).solver.evaluations == 3
    assert nst("photo.png", "--dry-run") == 0
    counts, share, time = capsys.readouterr().out.splitlines()
    assert counts == "1 pictures: 0 are done already, 1 to be painted"
    assert share.startswith("1 picture of ")
    assert re.fullmatch(r"1 job of 1 program on 1 worker \(cpu\): about .*, longest job .* s", time)
    assert sorted(world.iterdir()) == before


def test_ctrl_c_and_going_on(capsys, monkeypatch):
    real = command.batch_progress

    @contextlib.contextmanager
    def impatient():
        presses = iter([signal.SIGINT])
        yield lambda *state: [os.kill(os.getpid(), number) for number in presses]

    monkeypatch.setattr(command, "batch_progress", impatient)
    command_line = ["batch", "photo.png", "--output", "out", *ARGUMENTS, "--evaluations", "400"]
    assert cli.run(command_line) == 130
    assert "1 are left; the same command goes on from here" in capsys.readouterr().err
    assert list(Path("out").iterdir()) == []
    monkeypatch.setattr(command, "batch_progress", real)
    assert cli.run(command_line) == 0
    assert Path("out/photo.png").exists()

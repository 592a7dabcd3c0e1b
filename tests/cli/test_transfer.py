import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from makers import NARROW_PROCESS, nst

from nst_jax import cli, config, images
from nst_jax.__main__ import main
from nst_jax.cli import arguments, transfer
from nst_jax.pretrained import downloads
from nst_jax.pretrained import files as weights
from nst_jax.settings import Settings, every_setting

ARGUMENTS = ["--content", "photo.png", "--style", "art.png", "--size", "24", "--evaluations", "4"]
ARGUMENTS += ["--set", "network.normalised=false"]


def test_a_picture_without_any_yaml(world, capsys):
    assert cli.run([*ARGUMENTS, "--output", "mine.png"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"mine\.png: finished after 4 evaluations, [\d.]+ s, loss [\d.e+]+, [\d.]+% of the first\n", out
    )
    assert err == ""  # no progress bar where there is no terminal
    assert images.read("mine.png").rgb.shape == (18, 24, 3)


def test_flags_and_assignments_over_a_config(world, capsys):
    (world / "my.yaml").write_text("content: nowhere.png\nstyle: {image: art.png, weight: 5}\nsize: 99\n")
    flags = ["--content-weight", "1e-2", "--init", "{content: 1, noise: 3}", "--set", "solver.kind=adam"]
    assert cli.run(["--config", "my.yaml", "--content", "a.png", *flags, "--print-config"]) == 0
    printed, _, problems = config.parse(capsys.readouterr().out, name="")
    assert not problems
    found = config.load(base=printed)
    assert (found.content.image, found.content.weight) == ("a.png", 0.01)
    assert (found.style.image, found.style.weight, found.size) == ("art.png", 5, 99)
    assert (found.init, found.solver.kind) == ({"content": 0.25, "noise": 0.75}, "adam")


def test_replay_repeats_and_does_not_overwrite(world, capsys):
    assert cli.run([*ARGUMENTS, "--init", "noise", "--seed", "5"]) == 0
    before = (world / "out.png").read_bytes()
    assert cli.run(["--replay", "out.png"]) == 0
    assert "out_replay.png: finished" in capsys.readouterr().out
    assert (world / "out.png").read_bytes() == before
    np.testing.assert_array_equal(images.read("out_replay.png").rgb, images.read("out.png").rgb)
    assert cli.run(["--replay", "out.png", "--evaluations", "6", "--output", "more.png"]) == 0
    assert "more.png: finished after 6" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["lbfgs", "lbfgsb"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_going_on_from_an_interrupted_picture(world, capsys, monkeypatch, number, kind):
    arguments = [*ARGUMENTS, "--evaluations", "50", "--set", f"solver.kind={kind}"]
    real = transfer.run_progress

    @contextlib.contextmanager
    def impatient(budget):
        yield lambda progress: os.kill(os.getpid(), number)

    monkeypatch.setattr(transfer, "run_progress", impatient)
    assert cli.run([*arguments, "--output", "my cat's.png"]) == 128 + number
    out, err = capsys.readouterr()
    assert "my cat's.png: interrupted after" in out
    command = re.search(r"to go on from here(.*)", err).group(1)
    assert (world / "my cat's.png").exists()
    monkeypatch.setattr(transfer, "run_progress", real)
    if kind == "lbfgs":
        assert command == ", give the same command again"
        assert cli.run([*arguments, "--output", "another.png"]) == 0
        assert cli.run([*arguments, "--output", "my cat's.png"]) == 0
        assert "going on after" in capsys.readouterr().err
        for name in ("my cat's", "another"):
            (world / f"{name}.rgb").write_bytes(images.read(f"{name}.png").rgb.tobytes())
        assert (world / "my cat's.rgb").read_bytes() == (world / "another.rgb").read_bytes()
        assert not list(world.glob("*.partial"))
    else:
        assert cli.run([*shlex.split(command.removeprefix(": nst-jax")), "--evaluations", "3"]) == 0
        assert (world / "my cat's_more.png").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_was_computed_ends_the_run_and_leaves_all_as_it_was(
    world, capsys, monkeypatch, number
):
    (world / "out.png").write_bytes(b"mine")

    def impatient(budget):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(transfer, "run_progress", impatient)
    assert cli.run(ARGUMENTS) == 128 + number
    assert capsys.readouterr().err == "nst-jax: interrupted\n"
    assert (world / "out.png").read_bytes() == b"mine"
    assert not list(world.glob("*.run*"))


def test_stdout_is_for_results_and_the_terminal_for_progress(world, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli.run(ARGUMENTS) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "4/4" in err
    assert "loss" in err


def test_a_loss_that_is_not_finite_is_exit_code_1(world, monkeypatch):
    monkeypatch.setattr("nst_jax.transfer.seeing.content_loss", lambda F, P: F.sum() * np.nan)
    assert cli.run([*ARGUMENTS, "--size", "22"]) == 1
    assert (world / "out.png").exists()


def test_a_photograph_is_enlarged_if_asked(world, capsys):
    for flags, width in (
        ([], 40),
        (["--enlarge"], 80),
        (["--enlarge", "false"], 40),
        (["--size", "70x60"], 40),
    ):
        assert cli.run([*ARGUMENTS, "--size", "80", "--evaluations", "1", *flags]) == 0
        assert images.read("out.png").rgb.shape[1] == width
        said = "photo.png is of 40 x 30 pixels, less than" in capsys.readouterr().err
        assert said == (width == 40)
    assert cli.run([*ARGUMENTS, "--enlarge", "perhaps"]) == 2


def test_bugs_keep_their_traceback(world, monkeypatch):
    monkeypatch.setattr("nst_jax.runs.inputs.Reader.read", lambda reader, settings: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.run(ARGUMENTS)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([], "nothing to do"),
        (
            ["--size", "big"],
            "--size: size: should be a number of pixels, or for a texture WIDTHxHEIGHT, "
            "such as 640x480, got 'big'",
        ),
        (["--size", "-3"], "--size: size: should be a number of pixels"),
        (["--style-weight", "-1"], "--style-weight: style.weight: should be 0, or from 1e-15 to 1e+15"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--content"], "expected one argument"),
        (["--config", "nowhere.yaml"], "no such config file"),
        (["--config", "starry", "--replay", "x.png"], "exclude each other"),
        (["--replay", "nowhere.png"], "nowhere.png"),
        (["--set", "x=1", "--content", "a", "--style", "b"], "x: unknown key"),
        (["--content", "gone.png", "--style", "gone.png"], "gone.png"),
        (["--content", "sample:cofee", "--style", "a"], "did you mean"),
        (["weights"], "required: show|fetch|verify"),
        (["weights", "show", "nowhere.h5"], "nowhere.h5"),
        (["weights", "fetch", "kears"], "did you mean 'keras'"),
        (["--style", "sample:coffee"], "content.image: no content image given"),
        (
            ["--config", "sweep_layers", "--set", "style={}"],
            "sweep_layers: is a sweep: use nst-jax sweep --config sweep_layers",
        ),
        (["--set", "sweep.axes={seed: [1]}"], "use nst-jax sweep --config FILE"),
        (["--colour", "red"], "--colour: colour: should be 'style', 'content' or 'matched', got 'red'"),
        (
            ["--style", "sample:burning_sky", "--content-weight", "0", "--colour", "content"],
            "nst-jax: colour: content needs a content, and there is none: give one, or leave it at style\n",
        ),
    ],
)
def test_mistakes_are_lines_on_stderr_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, phrase):
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert phrase in err
    assert all(line.startswith("nst-jax: ") for line in err.splitlines())
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [arguments.RUN, arguments.SWEEP], ids=["run", "sweep"])
def test_help_states_the_meaning_and_default_of_each_setting(flags):
    text = " ".join(arguments.parser_for("x", flags).format_help().split())
    settings = dict(every_setting(Settings()))
    for flag, (key, _) in flags.items():
        each = settings[key]
        stated = f" (default: {each.default})" if each.default is not None else ""
        assert f"--{flag} " in text
        assert " ".join((each.metadata["meaning"] + stated).split()) in text


def test_help_and_mistakes_come_without_jax():
    code = (
        "import contextlib, sys; from nst_jax import cli; cli.run(['--size', 'x']); "
        "cli.run(['--content', 'gone.png', '--style', 'gone.png'])\n"
        "for words in (['--help'], ['sweep', '--help']):\n"
        "    with contextlib.suppress(SystemExit): cli.run(words)\n"
        "print('jax' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.splitlines()[-1] == "False"
    assert "--print-config" in out
    assert "--collect" in out


def test_module_and_console_script_are_one_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nst-jax", "samples"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    shown = nst("samples").stdout
    assert capsys.readouterr().out == shown
    assert "starry_swirls" in shown


def test_print_config_into_a_closed_pipe():
    command = f"{sys.executable} -m nst_jax --print-config | head -1"
    shown = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert shown.stdout.startswith("content:")
    assert "Traceback" not in shown.stderr


def test_weights_show_and_verify(world, capsys, monkeypatch):
    for module, name in ((weights, "describe"), (downloads, "verify")):
        monkeypatch.setattr(module, name, lambda path, name=name: f"{name} {path}")
    assert cli.run(["weights", "show"]) == 0
    assert capsys.readouterr().out == f"describe {world}/narrow.h5\n"
    assert cli.run(["weights", "verify", "narrow.h5"]) == 0
    assert capsys.readouterr().out == "verify narrow.h5\n"


def test_a_second_process_does_not_compile_again(world):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"NST_JAX_CACHE": str(world / "cache"), "JAX_LOG_COMPILES": "1"}
    tests = str(Path(__file__).parents[1])
    few = ["content.layers=[conv1_2]", "style.layers=[conv1_1]", "pyramid.levels=1"]
    few = [word for each in few for word in ("--set", each)]
    command = [sys.executable, "-c", NARROW_PROCESS, tests, *ARGUMENTS, *few, "--evaluations", "1"]
    runs = [subprocess.run(command, capture_output=True, text=True, env=environment) for _ in range(2)]
    assert [done.returncode for done in runs] == [0, 0]
    hits = [done.stderr.count("Persistent compilation cache hit for 'jit_step'") for done in runs]
    assert hits == [0, 1]


def test_the_real_network_end_to_end(real_weights, tmp_path):
    """From noise on real weights, in another process: the loss falls to a fraction."""
    arguments = [
        "--content",
        "sample:chelsea",
        "--style",
        "sample:starry_swirls",
        "--size",
        "64",
        "--init",
        "noise",
    ]
    done = nst(*arguments, "--evaluations", "30", "--weights", real_weights, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    share = float(re.search(r"([\d.]+)% of the first", done.stdout).group(1))
    assert share < 20, done.stdout


def test_a_dry_run_says_what_it_would_take_and_paints_nothing(world, capsys):
    before = sorted(world.iterdir())
    assert cli.run([*ARGUMENTS, "--dry-run"]) == 0
    said = capsys.readouterr().out
    for word in ("held", "network", "optimiser", "features", "together", "usable", "MiB", "pairs"):
        assert word in said
    assert sorted(world.iterdir()) == before
    assert cli.run([*ARGUMENTS, "--dry-run", "--memory-limit", "1MiB"]) == 2
    assert "a memory limit of at least" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["lots", "0GiB", "0", "4 bananas"])
def test_a_memory_limit_that_is_none(limit, capsys):
    assert cli.run([*ARGUMENTS, "--memory-limit", limit]) == 2
    assert "memory_limit: should be a number of bytes, such as 800MB or 4GiB" in capsys.readouterr().err

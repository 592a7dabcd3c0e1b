import contextlib
import os
import re
import signal

import pytest

from nst_jax import cli, config
from nst_jax.cli import sweep as command
from nst_jax.settings import Settings

pytestmark = pytest.mark.usefixtures("world")

ARGUMENTS = ["sweep", "--content", "photo.png", "--style", "art.png", "--size", "24", "--evaluations", "3"]
ARGUMENTS += ["--set", "network.normalised=false"]
AXES = ["--axis", "style.weight=[1e1, 1e3]", "--axis", "seed={linspace: [0, 2, 3]}", "--init", "noise"]


def test_a_sweep_without_any_yaml(world, capsys):
    assert cli.run([*ARGUMENTS, *AXES, "--output", "mine"]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"mine/index\.html, sheet\.png: 6 of 6 cells, [\d.]+ s; lowest: [\d.e+]+% of its first loss at "
        r"style\.weight \d+, seed \d\n",
        out,
    )
    assert err == ""
    assert (world / "mine" / "index.html").exists()


def test_shards_and_collecting(world, capsys):
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "1/2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("sweep: 3 of 6 cells done")
    assert "nst-jax sweep --collect sweep" in err
    assert cli.run(["sweep", "--collect", "sweep"]) == 0
    assert "not done yet: cells 1, 3, 5" in capsys.readouterr().err
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "2/2"]) == 0
    assert "6 of 6 cells" in capsys.readouterr().out
    assert cli.run(["sweep", "--collect", "sweep"]) == 0
    assert capsys.readouterr().err == ""


def test_sharing_as_one_goes(world, capsys):
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "1/2"]) == 0
    capsys.readouterr()
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "auto"]) == 0
    out, err = capsys.readouterr()
    assert re.match(r"sweep/index\.html, sheet\.png: 6 of 6 cells, [\d.]+ s; lowest: ", out)
    assert err == ""


def test_who_is_not_the_last_has_no_page_to_make_and_says_the_same(capsys, monkeypatch, exploding):
    told = []
    command_line = [*ARGUMENTS, "--axis", f"style.weight=[1, {exploding}]", "--shard", "auto"]
    for is_last in (True, False):

        @contextlib.contextmanager
        def closing(keep, lease, is_last=is_last):
            yield is_last

        monkeypatch.setattr("nst_jax.runs.sweep.closing", closing)
        assert cli.run(command_line) == 1
        out, err = capsys.readouterr()
        told.append((re.sub(r"[\d.]+ s;", "", out), err))
        monkeypatch.setattr("nst_jax.runs.gallery.collect", None)
    assert told[0] == told[1]
    assert re.match(r"sweep/index\.html, sheet\.png: 2 of 2 cells, .*lowest: ", told[1][0])
    assert "no finite number: cells 1" in told[1][1]


def test_a_folder_of_another_version_is_not_shared(world, capsys):
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "1/2"]) == 0
    path = world / "sweep" / "sweep.json"
    path.write_text(path.read_text().replace('"nst_jax": "', '"nst_jax": "0.0.'))
    before = sorted(world.rglob("*"))
    capsys.readouterr()
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "auto"]) == 2
    out, err = capsys.readouterr()
    assert "sweep: was begun by other versions, which are not mixed here: nst_jax is" in err
    assert (err.count("\n"), out) == (1, "")
    assert sorted(world.rglob("*")) == before


def test_a_folder_that_may_not_be_written_is_not_shared(world, capsys, monkeypatch):
    (world / "sweep").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: "sweep" not in str(path))  # root may do all
    assert cli.run([*ARGUMENTS, *AXES, "--shard", "auto"]) == 2
    out, err = capsys.readouterr()
    assert "the folder sweep is not writable" in err
    assert (err.count("\n"), out) == (1, "")


def test_a_dry_run_says_what_it_would_take_and_paints_nothing(world, capsys):
    before = sorted(world.iterdir())
    assert cli.run([*ARGUMENTS, "--axis", "size=[24, 32]", "--axis", "seed=[1, 2, 3]", "--dry-run"]) == 0
    out = capsys.readouterr().out
    time = r"6 jobs of 2 programs on 1 worker \(cpu\): about .*, at least .*, longest job .*\n"
    cells = r"(3 cells of \d+ x \d+, 9 evaluations, \d at once: .* besides Python and JAX\n){2}"
    assert re.fullmatch(cells + time, out)
    assert sorted(world.iterdir()) == before


def test_a_config_with_flags_over_it(world, capsys):
    text = "content: photo.png\nstyle: art.png\nsize: 24\nsweep: {axes: {seed: [1, 2]}, folder: a}\n"
    (world / "my.yaml").write_text(text)
    flags = ["--output", "b", "--max-parallel", "3", "--axis", "size=[20, 22, 24]", "--print-config"]
    assert cli.run(["sweep", "--config", "my.yaml", *flags]) == 0
    printed, _, problems = config.parse(capsys.readouterr().out, name="")
    found = config.load(base=printed)
    assert not problems
    assert (found.sweep.folder, found.sweep.max_parallel, len(config.cells(found))) == ("b", 3, 3)


def test_a_cell_that_is_not_finite_shows_in_the_exit_code(capsys, exploding):
    assert cli.run([*ARGUMENTS, "--axis", f"style.weight=[1, {exploding}]"]) == 1
    assert "no finite number: cells 1" in capsys.readouterr().err


def test_ctrl_c_and_going_on(capsys, monkeypatch):
    real = command.grid_progress

    @contextlib.contextmanager
    def impatient():
        presses = iter([signal.SIGINT])
        yield lambda *state: [os.kill(os.getpid(), number) for number in presses]

    monkeypatch.setattr(command, "grid_progress", impatient)
    assert cli.run([*ARGUMENTS, *AXES, "--evaluations", "400"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.setattr(command, "grid_progress", real)
    assert cli.run([*ARGUMENTS, *AXES, "--evaluations", "400"]) == 0


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (
            [*ARGUMENTS, "--axis", "stile.weight=[1]"],
            "--axis: sweep: stile.weight: unknown key (did you mean",
        ),
        ([*ARGUMENTS, "--axis", "network.pool=[avg, max]"], "network.pool: is not a number"),
        ([*ARGUMENTS, "--axis", "style.weight=[]"], "style.weight: the list of values is empty"),
        ([*ARGUMENTS, "--axis", "style.weight"], "should be KEY=VALUE"),
        ([*ARGUMENTS, "--axis", "style.weight=[1"], "is not YAML"),
        ([*ARGUMENTS, "--axis", "seed={linspace: [0, 999, 1000]}"], "the grid has 1000 cells, more than"),
        ([*ARGUMENTS, *AXES, "--shard", "3/2"], "--shard 3/2: there is no such shard"),
        ([*ARGUMENTS, *AXES, "--output", "foreign"], "foreign: is not the folder of a sweep"),
        ([*ARGUMENTS, *AXES, "--output", "photo.png"], "photo.png: is a file"),
        ([*ARGUMENTS, *AXES, "--max-parallel", "0"], "--max-parallel: sweep.max_parallel: should be"),
        ([*ARGUMENTS, *AXES, "--slurm", "x"], "should be the number of jobs"),
        ([*ARGUMENTS, *AXES, "--slurm", "2", "--shard", "1/2"], "leave out --shard"),
        ([*ARGUMENTS, *AXES, "--slurm", "2", "--slurm-option", "x"], "should be KEY=VALUE"),
        (["sweep", "--collect", "nowhere"], "nowhere: is not the folder of a sweep"),
        (["sweep", "--collect", "foreign", "--size", "3"], "leave out --size"),
        (["sweep", "--collect", "foreign", "--set", "size=3"], "leave out --set"),
        (["sweep", "--collect", ""], "is not the folder of a sweep"),
        ([*ARGUMENTS, *AXES, "--shard", ""], "should be i/n"),
        ([*ARGUMENTS, *AXES, "--shard", "foo"], "--shard foo: should be i/n, such as 1/4 for the first"),
        ([*ARGUMENTS, *AXES, "--shard", "auto/2"], "--shard auto/2: should be i/n"),
        ([*ARGUMENTS, *AXES, "--shard", "auto", "--slurm", "2"], "leave out --shard"),
        ([*ARGUMENTS, *AXES, "--slurm", ""], "should be the number of jobs"),
        ([*ARGUMENTS, *AXES, "--slurm-option", "a=b"], "give --slurm too"),
        ([*ARGUMENTS, *AXES, "--output", "a" * 300], "cannot be used: "),
        ([*ARGUMENTS, *AXES, "--set", 'sweep.folder="a\\0b"'], "cannot be used: "),
        (["sweep", "--config", "starry"], "there is nothing to sweep"),
        (["--config", "sweep_layers"], "nst-jax sweep --config"),
        (["sweep"], "there is nothing to sweep"),
        (["sweep", "--save-every", "3"], "nst-jax sweep --help"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(world, capsys, arguments, phrase):
    (world / "foreign").mkdir()
    (world / "foreign" / "letter.txt").write_text("dear")
    before = sorted(world.rglob("*"))
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert phrase in err
    assert (err.count("\n"), out) == (1, "")
    assert sorted(world.rglob("*")) == before


def test_help_states_the_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.run(["sweep", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for phrase in ("--axis", "--shard", "--collect", "--slurm", "--max-parallel", "(default: sweep)"):
        assert phrase in out
    assert Settings().sweep.folder == "sweep"


def test_the_progress_bar_shows_cells_and_best_loss(monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli.run([*ARGUMENTS, *AXES]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "cells 6/6" in re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", err)
    assert "best loss" in err


@pytest.mark.parametrize("name", ["sweep_tradeoff", "sweep_layers"])
def test_the_configs_that_come_along(name):
    found = config.load(name)
    cells = config.cells(found)
    assert len(cells) == {"sweep_tradeoff": 4, "sweep_layers": 20}[name]
    ratios = [cell.config.content.weight / cell.config.style.weight for cell in cells]
    assert (min(ratios), max(ratios)) == {
        "sweep_tradeoff": (1e-4, 1e-1),
        "sweep_layers": (1e-5, 1e-2),
    }[name]

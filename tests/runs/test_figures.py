import json
import re
from pathlib import Path

import numpy as np
import pytest

from nst_jax import cli, config, images
from nst_jax.errors import ConfigError, OutputError
from nst_jax.runs import figures, inputs, painting
from nst_jax.samples import works

pytestmark = pytest.mark.usefixtures("world")

CONFIGS = Path(__file__).parents[2] / "configs" / "papers"
QUICK = {"size": ("--size", 32), "solver.evaluations": ("--evaluations", 2)}
PAIR = ("gatys2016_fig4", "gatys2016_fig5")


@pytest.fixture(autouse=True)
def _painted(monkeypatch, random):
    """Small samples instead of those that take seconds to paint."""
    small = np.float32(random.uniform(size=(30, 40, 3)))
    monkeypatch.setattr("nst_jax.samples.load", lambda name: small if "sem" not in name else np.round(small))
    monkeypatch.setenv("NST_JAX_CACHE", "cache")


def render(*names, folder="figs", **options):
    said = []
    flags = QUICK | {"network.normalised": ("--set", False)} | options.pop("flags", {})
    return figures.run(names, Path(folder), flags=flags, say=said.append, **options), said


@pytest.mark.parametrize("name", [path.stem for path in sorted(CONFIGS.glob("*.yaml"))])
def test_each_config_says_what_it_follows_and_can_be_painted(name):
    says = figures.header(name)
    assert list(says) == list(figures.SAYS)
    assert all(says.values())
    first = (CONFIGS / f"{name}.yaml").read_text().splitlines()[0]
    assert first == f"# nst-jax sweep --config papers/{name} [--images DIR]"
    chosen = config.load(f"papers/{name}")
    assert chosen.size == 512
    assert chosen.sweep.folder == name
    for cell in config.cells(chosen):
        for value in inputs.names_of(cell.config).values():
            works.named(value)  # only works, which have stand-ins
        inputs.as_posed(cell.config)


def test_the_papers_settings():
    """Figures of the papers, from their texts."""
    cells = {name: config.cells(config.load(f"papers/{name}")) for name in figures.names()}

    def ratios(name):
        return [cell.config.content.weight / cell.config.style.weight for cell in cells[name]]

    assert ratios("gatys2016_fig3") == [1e-3, 8e-4, 5e-3, 5e-4, 5e-4]
    assert ratios("gatys2016_fig4") == [1e-4, 1e-3, 1e-2, 1e-1]
    assert ratios("gatys2015_fig2") == [1e-3, 1e-3, 1e-3, 1e-4, 1e-4]
    assert ratios("gatys2015_fig3") == 5 * [1e-5, 1e-4, 1e-3, 1e-2]
    assert ratios("gatys2016_fig7") == [1e-2]
    layers = [cell.config.content.layers for cell in cells["gatys2016_fig1_content"]]
    assert layers == [(f"conv{block}_2",) for block in range(1, 6)]
    sets = [cell.config.style.layers for cell in cells["gatys2016_fig1_style"]]
    assert sets == [tuple(f"conv{block}_1" for block in range(1, n + 1)) for n in range(1, 6)]
    assert [c.config.content.layers for c in cells["gatys2016_fig5"]] == [("conv2_2",), ("conv4_2",)]
    assert [c.config.style.weight for c in cells["champandard2016_fig5_beta"]] == [0, 10, 50, 250]
    assert [c.config.semantic.weight for c in cells["champandard2016_fig5_gamma"]] == [0, 10, 50, 250]
    assert sum(map(len, cells.values())) == 84


def test_the_order_of_the_page():
    names = figures.names()
    assert len(names) == len(list(CONFIGS.glob("*.yaml")))
    papers = [re.match(r"\D+\d{4}", name)[0] for name in names]
    assert list(dict.fromkeys(papers)) == list(figures.PAPERS)
    assert figures.described().count("\n") == len(names) - 1


def test_figures_and_their_page(world):
    outcome, said = render(*PAIR)
    assert (outcome.figures, outcome.done, outcome.interrupted) == (2, 2, False)
    text = outcome.page.read_text()
    for name in PAIR:
        assert images.read(world / "figs" / name / "sheet.png").rgb.shape[2] == 3
        assert f'src="{name}/sheet.png"' in text
        assert f"nst-jax figures {name} --size 32" in text
        assert figures.header(name)["Expected"][:20] in text
    assert "stands in for" in text
    assert "Kandinsky" in text
    losses = [
        json.loads(file.read_text()) for file in sorted((world / "figs" / PAIR[0]).glob("cells/*.json"))
    ]
    for record in losses:
        assert f"{record['result']['loss']:.3g}" in text
    assert len([line for line in said if "samples stand in for 3" in line]) == 1
    assert not any("work:" in line for line in said)


def test_the_users_pictures_are_taken(world, random):
    for name in ("neckarfront.png", "jesuiten_iii.png"):
        images.write(world / name, np.float32(random.uniform(size=(20, 30, 3))))
    outcome, said = render(PAIR[1], flags={"images": ("--images", str(world))})
    text = outcome.page.read_text()
    assert "stands in for" not in text
    assert "--images DIR" in text
    assert said == []
    record = json.loads((world / "figs" / PAIR[1] / "sweep.json").read_text())
    assert record["config"]["content"]["image"] == str(world / "neckarfront.png")


def test_interrupted_work_goes_on():
    first, _ = render(*PAIR, callback=lambda name, progress: name == PAIR[1])
    assert first.interrupted
    assert "not painted yet" in first.page.read_text()
    left = []

    def paint(problems, *, finished, **rest):
        left.append(problems.keys() - finished)
        return painting.here(problems, finished=finished, **rest)

    second, _ = render(*PAIR, paint=paint)
    assert (second.done, second.interrupted) == (2, False)
    assert not left[0]  # the first figure was whole
    assert left[1]


@pytest.mark.parametrize(
    ("names", "flags", "kind", "phrase"),
    [
        (["gatys2016_fig8"], {}, ConfigError, "is no figure of the papers (did you mean 'gatys2016_fig"),
        ([PAIR[0]], {"size": ("--size", 0)}, ConfigError, "--size: size: should be a number"),
        ([PAIR[0]], {"images": ("--images", "no")}, ConfigError, "images: no: is not a folder"),
        ([PAIR[0]], {"size": ("--size", 8)}, Exception, f"{PAIR[0]}: cell 0"),
    ],
)
def test_mistakes_are_one_line(names, flags, kind, phrase):
    with pytest.raises(kind) as caught:
        render(*names, flags=flags)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_dry_run_of_figures(world, capsys, is_begun):
    line = ["figures", *PAIR, "--size", "32", "--evaluations", "1", "--set", "network.normalised=false"]
    if is_begun:
        assert cli.run([line[0], PAIR[1], *line[3:]]) == 0
    before = sorted(world.rglob("*"))
    capsys.readouterr()
    assert cli.run([*line, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{PAIR[0]}: 4 cells of \d+ x \d+, 4 evaluations, .*", lines[0])
    assert re.fullmatch(rf"{PAIR[0]}: 4 jobs of 1 program on 1 worker \(cpu\): about .*", lines[1])
    left = "nothing is left to do" if is_begun else r"2 jobs of \d program.* on 1 worker \(cpu\): about .*"
    assert re.fullmatch(f"{PAIR[1]}: {left}", lines[-2])
    assert re.fullmatch(r"2 figures, one after another: about [\d.]+ s", lines[-1])
    assert sorted(world.rglob("*")) == before


def test_a_folder_of_other_settings_is_left_alone(world):
    outcome, _ = render(PAIR[1])
    before = outcome.page.read_bytes()
    with pytest.raises(OutputError, match=f"{PAIR[1]}: .*other settings: size is 24, was 32"):
        render(PAIR[1], flags={"size": ("--size", 24)})
    assert outcome.page.read_bytes() == before


def test_the_command(world, capsys):
    line = [PAIR[1], "--size", "32", "--evaluations", "1", "--set", "network.normalised=false"]
    assert cli.run(["figures", *line]) == 0
    assert "figures-32/index.html: 1 of 1 figures" in capsys.readouterr().out
    assert (world / "figures-32" / PAIR[1] / "sheet.png").exists()
    assert cli.run(["figures", "--list"]) == 0
    assert "gatys2016_fig1_content" in capsys.readouterr().out
    assert cli.run(["figures", "--set", "sweep.folder=x"]) == 2
    assert cli.run(["figures", "--size", "many"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2

"""The papers' figures: every config of ``configs/papers`` painted into one folder, with a page of them all.

Each is a sweep in a folder of its own, so that interrupted work goes on with the same command.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from nst_jax import config as configs
from nst_jax import images
from nst_jax.config import Cell
from nst_jax.errors import ConfigError, NstError, OutputError, did_you_mean
from nst_jax.files import write_atomically
from nst_jax.runs import gallery, inputs, painting, records, sweep
from nst_jax.runs.forecast import duration
from nst_jax.runs.report import figures_page
from nst_jax.samples import works
from nst_jax.settings import Settings
from nst_jax.typing import Json

SIZE = 128
"""Longer side of a panel unless told otherwise."""

PAPERS = ("gatys2016", "gatys2015", "slides2015", "champandard2016")
"""In the order of the page."""

SAYS = ("Figure", "Known", "Assumed", "Expected")
"""What the comment that opens a config of a figure says, besides its command."""

_THUMBNAIL = 128


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended."""

    page: Path
    figures: int
    done: int
    """Figures that are whole."""
    interrupted: bool
    seconds: float


def names() -> tuple[str, ...]:
    """Return the figures, in the order of the page."""
    found = [name.removeprefix("papers/") for name in configs.packaged() if name.startswith("papers/")]
    return tuple(sorted(found, key=lambda name: (_paper(name), name)))


def described() -> str:
    """Return a table, one line for each figure."""
    width = max(map(len, names()))
    return "\n".join(f"{name:<{width}} {header(name)['Figure']}" for name in names())


def header(name: str) -> dict[str, str]:
    """Return what the comment that opens a figure's config says, by `SAYS`."""
    text = configs.find(f"papers/{name}").read_text(encoding="utf-8")
    lines = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    parts = re.split(rf"\b({'|'.join(SAYS)}): ", " ".join(lines))
    return dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))


def config_of(name: str, folder: Path, flags: Mapping[str, tuple[str, Json]] = {}) -> Settings:
    """Return the config of a figure to be painted within ``folder``; for the flags see `config.load`."""
    given = {"size": ("--size", SIZE)} | dict(flags) | {"sweep.folder": ("--output", str(folder / name))}
    return configs.load(f"papers/{name}", flags=given)


def run(
    chosen: Sequence[str],
    folder: Path,
    *,
    flags: Mapping[str, tuple[str, Json]] = {},
    paint: painting.Paint = painting.here,
    callback: Callable[[str, Json], object] | None = None,
    say: Callable[[str], None] = print,
    download: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Paint figures that are not done yet, and write the page after each.

    Args:
        chosen: names of figures; none: all.
        folder: where each gets a folder, beside ``index.html``.
        flags: settings for all of them, as in `config.load`.
        paint: who does it, see `sweep.run`.
        callback: called now and then with a figure's name and a `lanes.GridProgress`; all stops if it
            returns True.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: an unknown figure, settings or pictures that cannot be used, a folder of something else.
    """
    found = _configs(chosen, folder, flags)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    absent: set[str] = set()
    for name, config in found.items():  # before any work
        cells, _ = _checked(name, partial(sweep.check, config))
        absent |= {value for _, value in _inputs(cells) if value.startswith(works.PREFIX)}
    if absent:
        say(
            f"samples stand in for {len(absent)} of the papers' pictures, marked on the page: --images DIR "
            "takes those that you have"
        )
    thumbnail = cache(_thumbnail)
    seconds, done, said = 0.0, 0, {works.note(value) for value in absent}

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    for name, config in found.items():

        def watch(progress: Json, name: str = name) -> object:
            return callback(name, progress) if callback else None

        work = partial(sweep.run, config, paint=paint, callback=watch, say=once, download=download)
        outcome = _checked(name, work)
        seconds, done = seconds + outcome.seconds, done + (outcome.done == outcome.cells)
        page = write_page(folder, thumbnail)
        if outcome.interrupted:
            return Outcome(page, len(found), done, True, seconds)
    return Outcome(page, len(found), done, False, seconds)


def plan(
    chosen: Sequence[str],
    folder: Path,
    *,
    flags: Mapping[str, tuple[str, Json]] = {},
    workers: int = 1,
    devices: str | None = None,
    say: Callable[[str], None] = print,
    download: Callable[[int, int], None] | None = None,
) -> str:
    """Return in words what `run` would take of memory and time, figure by figure; nothing is written.

    For ``workers`` and ``devices`` see `sweep.outlook`.

    Raises:
        NstError: as `run`, or too little memory.
    """
    found = _configs(chosen, folder, flags)
    if not folder.is_dir():  # none of them can have a folder then, and this one is to be made
        found = {name: config.with_values({"sweep.folder": str(folder)}) for name, config in found.items()}
    lines: list[str] = []
    seconds: list[float | None] = []
    for name, config in found.items():
        look = partial(sweep.outlook, config, workers=workers, devices=devices, say=say, download=download)
        about = _checked(name, look)
        lines += [f"{name}: {line}" for line in about.lines]
        seconds.append(about.seconds)
    known = [each for each in seconds if each is not None]
    if len(known) == len(found) > 1:
        lines.append(f"{len(found)} figures, one after another: about {duration(sum(known))}")
    return "\n".join(lines)


def _configs(
    chosen: Sequence[str], folder: Path, flags: Mapping[str, tuple[str, Json]]
) -> dict[str, Settings]:
    """Return the configs of figures, none chosen: of all, in the order of the page."""
    known = names()
    for name in chosen:
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError(f"{name}: is no figure of the papers{near}; allowed: {', '.join(known)}")
    return {name: config_of(name, folder, flags) for name in known if not chosen or name in chosen}


def write_page(folder: Path, thumbnail: Callable[[str, int], bytes | None]) -> Path:
    """Write ``index.html`` for the figures that have a folder by now, and return its path.

    Args:
        folder: where each has a folder.
        thumbnail: `_thumbnail`, which a caller may let remember: figures share their pictures.

    Raises:
        OutputError: it cannot be written.
    """
    there = [name for name in names() if (folder / name / "sweep.json").is_file()]
    entries = [_entry(folder / name, name, thumbnail) for name in there]
    path = folder / "index.html"
    write_atomically(path, figures_page(entries).encode())
    return path


def _paper(name: str) -> int:
    return next((i for i, paper in enumerate(PAPERS) if name.startswith(paper)), len(PAPERS))


def _checked(name: str, work: Callable[[], Json]) -> Json:
    """Return what the work returns; a mistake says which figure it is about."""
    try:
        return work()
    except NstError as error:
        raise type(error)(f"{name}: {error}") from None


def _entry(folder: Path, name: str, thumbnail: Callable[[str, int], bytes | None]) -> dict[str, Json]:
    record = gallery.read_sweep(folder)
    config = configs.load(base=record["config"])
    cells = configs.cells(config)
    sheet = folder / "sheet.png"
    return {
        "name": name,
        "says": header(name),
        "sheet": f"{name}/sheet.png" if sheet.is_file() else None,
        "page": f"{name}/index.html" if sheet.is_file() else None,
        "facts": _facts(config, record),
        "inputs": [
            _shown(use, value) | {"picture": thumbnail(value, config.max_pixels)}
            for use, value in _inputs(cells)
        ],
        "panels": [_panel(folder, cell) for cell in cells],
        "command": _command(name, config),
    }


def _facts(config: Settings, record: Mapping[str, Json]) -> str:
    swept = {key for axis in config.sweep.axes for key in axis}
    facts = [
        f"{config.written_size()} pixels",
        f"network {record['encoder']['name']}",
        f"convention {config.loss.convention}",
    ]
    if "solver.evaluations" not in swept:
        each = " at each size" if config.style.kind == "patch" else ""
        facts.append(f"{config.solver.evaluations} evaluations{each}")
    return ", ".join(facts)


def _command(name: str, config: Settings) -> str:
    command = f"nst-jax figures {name} --size {config.written_size()}"
    return command + (" --images DIR" if config.images else "")


def _inputs(cells: list[Cell]) -> Iterator[tuple[str, str]]:
    """Yield what pictures are used for, and their names, once each."""
    found: dict[str, str] = {}
    for cell in cells:
        for use, value in inputs.names_of(cell.config).items():
            found.setdefault(value, use.replace("_", " "))
    yield from ((use, value) for value, use in found.items())


def _thumbnail(value: str, max_pixels: int) -> bytes | None:
    """Return an input as a small JPEG, or None if it is gone since."""
    try:
        rgb = inputs.read_picture(value, max_pixels)[0].rgb
    except NstError:
        return None
    return images.encode("input.jpg", images.bounded(rgb, _THUMBNAIL), quality=85)


def _shown(use: str, value: str) -> dict[str, Json]:
    """Return what the page says of an input: its name, and which work it stands in for."""
    work = works.named(value) if value.startswith(works.PREFIX) else None
    return {
        "use": use,
        "name": f"sample:{work.stand_in}" if work else configs.picture_name(value),
        "stands_for": work.credit if work else None,
        "link": work.link if work else None,
    }


def _panel(folder: Path, cell: Cell) -> dict[str, Json]:
    record = gallery.read_cell(folder, cell) or {"result": {}, "curve": []}
    last = record["curve"][-1]["terms"] if record["curve"] else {}
    sums = records.by_kind(last)
    result = record["result"]
    return {
        "settings": cell.where,
        "status": result.get("status", "not done yet"),
        "loss": result.get("loss"),
        "initial_loss": result.get("initial_loss"),
        **{kind: sums[kind] if last else None for kind in ("content", "style")},
    }

"""A sweep's folder and what is made of it: the contact sheet and the page.

FOLDER/sweep.json        the settings, the network and the inputs
FOLDER/cells/0003.png    a picture, with its record inside
FOLDER/cells/0003.json   the same record, with its loss curve
FOLDER/sheet.png         all pictures with labelled axes
FOLDER/index.html        the same to look through, in one file
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nst_jax import config as configs
from nst_jax import images
from nst_jax.config import Axis, Cell
from nst_jax.errors import ConfigError, ImageError, OutputError
from nst_jax.files import write_atomically
from nst_jax.runs.report import page
from nst_jax.samples import works
from nst_jax.settings import Settings
from nst_jax.typing import Json

CELL = 256
"""Longer side of a picture on the sheet, in pixels; half of it for a large grid."""

SHOWN = 640
"""Longer side of a picture in the page, in pixels; less for a large grid, so that the page stays small."""

_LARGE_GRID = 64
_PICTURES = ("content", "content.image", "style", "style.image")


@dataclass(frozen=True)
class Collection:
    """What a folder holds, and what was made of it."""

    folder: Path
    cells: int
    missing: tuple[int, ...]
    not_finite: tuple[int, ...]
    best: str
    """Which cell has the lowest share of its first loss, in words."""


def read_sweep(folder: Path) -> dict[str, Json]:
    """Return the record of a sweep's folder.

    Raises:
        OutputError: the folder is not of a sweep.
    """
    try:
        record: dict[str, Json] = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        dicts = all(isinstance(record[name], dict) for name in ("config", "encoder", "inputs", "versions"))
        if record["kind"] == "sweep" and dicts and {"name", "digest"} <= record["encoder"].keys():
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise OutputError(f"{folder}: is not the folder of a sweep: there is no sweep.json of this program in it")


def picture_of(folder: Path, cell: Cell) -> Path:
    """Return where a cell's picture is written."""
    suffix = Path(cell.config.output.image).suffix.lower()
    return folder / "cells" / f"{cell.index:04d}{suffix}"


def read_cell(folder: Path, cell: Cell) -> dict[str, Json] | None:
    """Return the record of a cell that is done, or None."""
    picture = picture_of(folder, cell)
    try:
        record: dict[str, Json] = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get("result"), dict) and "curve" in record
    return record if whole and picture.is_file() else None


def is_done(folder: Path, cell: Cell) -> bool:
    """Tell whether a cell has its record and a picture that can be read."""
    if read_cell(folder, cell) is None:
        return False
    try:
        images.read(picture_of(folder, cell))
    except ImageError:
        return False
    return True


def collect(folder: Path) -> Collection:
    """Write the sheet and the page of what a sweep's folder holds by now.

    Raises:
        NstError: the folder is not of a sweep, or cannot be written.
    """
    record = read_sweep(folder)
    config = _config(folder, record)
    axes, cells = configs.axes(config), configs.cells(config)
    found = {cell.index: read_cell(folder, cell) for cell in cells}
    parts = 1 if len(cells) <= _LARGE_GRID else 2
    cell_side, shown = CELL // parts, SHOWN // parts
    small: dict[tuple[int, ...], NDArray[np.float32]] = {}
    entries = []
    for cell in cells:
        known = found[cell.index]
        jpeg = None
        if known:
            try:
                rgb = images.read(picture_of(folder, cell)).rgb
            except ImageError:  # damaged since
                found[cell.index] = known = None
            else:
                small[cell.position] = images.bounded(rgb, cell_side)
                jpeg = images.encode("shown.jpg", images.bounded(rgb, shown), quality=85)
        entries.append(_entry(folder, cell, known, jpeg))
    title = _title(config)
    notes = {
        cell.position: status
        for cell in cells
        if (status := _result(found[cell.index]).get("status", "finished")) != "finished"
    }
    sheet = images.contact_sheet(
        small, [(axis.title, axis.labels) for axis in axes], title=title, notes=notes, cell=cell_side
    )
    write_atomically(folder / "sheet.png", images.encode("sheet.png", sheet))
    words = [{"title": axis.title, "labels": axis.labels} for axis in axes]
    text = page(title, words, entries, facts=_facts(config, axes, record))
    write_atomically(folder / "index.html", text.encode())
    return _collection(folder, cells, found)


def look(folder: Path) -> Collection:
    """Return what a sweep's folder holds by now, of which another process has made sheet and page.

    Raises:
        OutputError: the folder is not of a sweep.
    """
    cells = configs.cells(_config(folder, read_sweep(folder)))
    return _collection(folder, cells, {cell.index: read_cell(folder, cell) for cell in cells})


def _config(folder: Path, record: Mapping[str, Json]) -> Settings:
    try:
        return configs.load(base=record["config"])
    except ConfigError as error:  # of another version of the program
        raise OutputError(f"{folder}: cannot be shown: {error}") from None


def _collection(
    folder: Path, cells: list[Cell], found: Mapping[int, Mapping[str, Json] | None]
) -> Collection:
    return Collection(
        folder=folder,
        cells=len(cells),
        missing=tuple(index for index, known in found.items() if not known),
        not_finite=tuple(i for i, known in found.items() if _result(known).get("status") == "not finite"),
        best=_best(cells, found),
    )


def _result(record: Mapping[str, Json] | None) -> dict[str, Json]:
    return dict(record["result"]) if record else {}


def _entry(
    folder: Path, cell: Cell, record: Mapping[str, Json] | None, jpeg: bytes | None
) -> dict[str, Json]:
    picture, result = picture_of(folder, cell), _result(record)
    larger = f"larger_{cell.index:04d}{picture.suffix}"
    command = [
        "nst-jax",
        "--replay",
        str(picture),
        "--size",
        cell.config.written_size(2),
        "--output",
        larger,
    ]
    return {
        "index": cell.index,
        "position": cell.position,
        "file": f"cells/{picture.name}",
        "picture": jpeg,
        "status": result.get("status", "missing"),
        "sentence": result.get("sentence", "not done yet"),
        "loss": result.get("loss"),
        "initial_loss": result.get("initial_loss"),
        "settings": cell.settings,
        "curve": [_short(point) for point in record["curve"]] if record else [],
        "command": shlex.join(command),
    }


def _short(value: Json) -> Json:
    """Return a point of a curve with six digits, which halves the page."""
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _title(config: Settings) -> str:
    swept = {key for axis in config.sweep.axes for key in axis}

    def name(section: str, image: str | tuple[str, ...] | None) -> str:
        if swept & {section, f"{section}.image"}:
            return f"several {section}s"
        names = image if isinstance(image, tuple) else (str(image),)
        return " + ".join(map(configs.picture_name, names))

    content, style = config.content.image or config.content.map, config.style.image
    names = [name("content", content)] if content or "content" in swept else []
    names += [name("style", style)] if style or "style" in swept else []
    swept_pictures = (name for axis in config.sweep.axes for key in _PICTURES for name in axis.get(key, ()))
    absent = any(str(name).startswith(works.PREFIX) for name in (content, style, *swept_pictures))
    return " × ".join(names) + (", with stand-ins" if absent and swept & {"content", "style"} else "")


def _facts(config: Settings, axes: list[Axis], record: Mapping[str, Json]) -> dict[str, str]:
    facts = {
        "content": config.content.image,
        "content.weight": config.content.weight,
        "style": config.style.image,
        "style.weight": config.style.weight,
        "convention": config.loss.convention,
        "init": config.init,
        "size": config.size and f"{config.written_size()} pixels",
        "evaluations": config.solver.evaluations,
        "network": record["encoder"]["name"],
        "nst_jax": record["versions"].get("nst_jax"),
    }
    swept = {key.removesuffix(".image") for axis in config.sweep.axes for key in axis}
    return {name: str(value) for name, value in facts.items() if value is not None and name not in swept}


def _best(cells: list[Cell], found: Mapping[int, Mapping[str, Json] | None]) -> str:
    shares = {}
    for cell in cells:
        result = _result(found[cell.index])
        if result.get("loss") is not None and result.get("initial_loss"):
            shares[cell.index] = result["loss"] / result["initial_loss"]
    if not shares:
        return ""
    index = min(shares, key=shares.__getitem__)
    where = cells[index].where
    return f"{100 * shares[index]:.3g}% of its first loss" + (f" at {where}" if where else "")

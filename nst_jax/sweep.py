"""A sweep: every cell of a grid is painted into a folder, then shown on a sheet and a page.

The folder is what is known of the sweep: cells that are there are not painted again, so the same command goes
on with interrupted work, and shards of a sweep may be run by anyone in any order.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from nst_jax import config as configs
from nst_jax import gallery, images, inputs, records
from nst_jax.config import Cell, Config
from nst_jax.errors import ConfigError, NstError, OutputError
from nst_jax.files import write_atomically

_WORK_ONLY = ("sweep.folder", "sweep.max_cells", "sweep.max_parallel", "sweep.lanes", "weights", "max_pixels")
"""Settings that say how the work is done, not what comes of it. Of the network, the digest is kept."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended."""

    folder: Path
    cells: int
    """Of the whole sweep."""
    done: int
    """Of the whole sweep, by now."""
    interrupted: bool
    seconds: float
    collection: gallery.Collection | None
    """What was made of the folder, if all cells are done."""


def run(
    config: Config,
    *,
    shard: tuple[int, int] = (1, 1),
    callback: Callable[[Any], object] | None = None,
    say: Callable[[str], None] = print,
    download: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Paint the cells of a sweep that are not done yet, and show them if then all are.

    Args:
        config: the settings, with the axes.
        shard: (i, n) takes every n-th cell, beginning with the i-th.
        callback: called now and then with a `lanes.GridProgress`; the work stops if it returns True.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: inputs that cannot be used, a folder of something else or of other settings.
    """
    begun = time.perf_counter()
    _check_shard(shard)
    cells, pictures = check(config)
    folder = Path(config.sweep.folder)
    _note_idle_seeds(cells, say)

    # Late: it imports JAX, and mistakes should not wait for that.
    encoder = inputs.encoder(config, download)
    if encoder.note:
        say(encoder.note)
    ready = _prepared(cells, pictures, encoder)
    digests = {digest for found in pictures for digest in found.digests.values()}
    record = records.record(config, encoder.record(), {}) | {"kind": "sweep", "inputs": sorted(digests)}
    mine = [cell for cell in cells if cell.index % shard[1] == shard[0] - 1]
    name = f"{shard[0]}-of-{shard[1]}"
    with _claimed(folder, record, name) as (keep, known):
        for difference in records.differences(record, known | {"inputs": {}}):
            say(f"note: cells already there may differ in the last digits: {difference}")
        finished = {cell.index for cell in mine if gallery.read_cell(folder, cell)}
        whole = _paint(
            config,
            folder,
            [cells[cell.index] for cell in mine],
            ready,
            pictures,
            record,
            finished,
            callback,
            keep,
        )
        if whole:
            shutil.rmtree(keep, ignore_errors=True)
    done = sum(gallery.read_cell(folder, cell) is not None for cell in cells)
    collection = gallery.collect(folder) if done == len(cells) else None
    return Outcome(folder, len(cells), done, not whole, time.perf_counter() - begun, collection)


def check(config: Config) -> tuple[list[Cell], list[inputs.Inputs]]:
    """Return the cells of a sweep and their pictures, or refuse what could not be painted or written.

    Raises:
        NstError: a sweep without axes, a picture that cannot be read, a folder of something else.
    """
    if not config.sweep.axes:
        raise ConfigError("sweep.axes: there is nothing to sweep: give settings with lists of values")
    if config.output.save_every:
        raise ConfigError("output.save_every: a sweep keeps no intermediate pictures; leave it at 0")
    images.check_suffix(Path(config.output.image), bits=config.output.bits)
    _check_folder(Path(config.sweep.folder))
    cells = configs.cells(config)
    return cells, _pictures(cells)


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of the text ``i/n``.

    Raises:
        ConfigError: it is not that, or i is not from 1 to n.
    """
    parts = text.split("/")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--shard {text}: should be i/n, such as 1/4 for the first of four")
    shard = (int(parts[0]), int(parts[1]))
    _check_shard(shard)
    return shard


def _check_shard(shard: tuple[int, int]) -> None:
    i, n = shard
    if not 1 <= i <= n:
        raise ConfigError(f"--shard {i}/{n}: of {n} shards there is none numbered {i}; allowed: 1 to {n}")


# --- Painting -------------------------------------------------------------------------------------


def _pictures(cells: list[Cell]) -> list[inputs.Inputs]:
    """Read the pictures of all cells, each of them once."""
    read = lru_cache(maxsize=16)(inputs.read_picture)
    known: dict[Any, inputs.Inputs] = {}
    found = []
    for cell in cells:
        config = cell.config
        init = config.init if isinstance(config.init, str) else ""
        key = (config.content.image, config.style.image, init, config.size)
        if key not in known:
            known[key] = inputs.read_inputs(config, read=read)
        # The rest of a blend, which is no picture, is the cell's own.
        found.append(known[key] if init else replace(known[key], init=config.init))
    return found


def _prepared(cells: list[Cell], pictures: list[inputs.Inputs], encoder: Any) -> dict[int, Any]:
    """Return the tasks of all cells. Equal images are one array, and tasks of one shape have equal layers."""
    from nst_jax import lanes, tasks

    known: dict[Any, Any] = {}
    ready = []
    for cell, picture in zip(cells, pictures, strict=True):
        style = cell.config.style
        key = (id(picture.content), id(picture.style), style.scale, style.fit)
        try:
            if key not in known:
                known[key] = tasks.fitted(
                    picture.content.rgb, picture.style.rgb, scale=style.scale, fit=style.fit
                )
            options = inputs.options(cell.config)
            ready.append(tasks.prepare(*known[key], params=encoder.params, init=picture.init, **options))
        except NstError as error:
            where = ", ".join(f"{key} {value}" for key, value in cell.settings.items())
            raise type(error)(f"cell {cell.index} ({where}): {error}") from None
    # All cells, not only those of a shard: what comes of a cell does not depend on the shards.
    return dict(enumerate(lanes.align(ready)))


def _paint(
    config: Config,
    folder: Path,
    cells: list[Cell],
    ready: Mapping[int, Any],
    pictures: list[inputs.Inputs],
    record: dict[str, Any],
    finished: set[int],
    callback: Callable[[Any], object] | None,
    keep: Path,
) -> bool:
    from nst_jax import lanes

    by_index = {cell.index: cell for cell in cells}

    def write(index: int, result: Any, curve: lanes.Curve) -> None:
        cell, own = by_index[index], pictures[index]
        ended = {n: getattr(result, n) for n in ("status", "loss", "initial_loss", "evaluations")}
        about = records.record(cell.config, record["encoder"], own.digests) | {"result": ended}
        _write_cell(folder, cell, result.image, own.content.alpha, about, curve, result.sentence)

    return lanes.run(
        {index: ready[index] for index in by_index},
        done=write,
        finished=finished,
        mode=config.sweep.lanes,
        max_parallel=config.sweep.max_parallel,
        watch=callback,
        keep=keep,
        stamp=_stamp(record),
    )


def _write_cell(
    folder: Path,
    cell: Cell,
    rgb: NDArray[np.float32],
    alpha: NDArray[np.float32] | None,
    about: dict[str, Any],
    curve: list[dict[str, Any]],
    sentence: str,
) -> None:
    path, output = gallery.picture_of(folder, cell), cell.config.output
    text = {records.KEYWORD: json.dumps(records.plain(about))}
    data = images.encode(path.name, rgb, alpha=alpha, bits=output.bits, quality=output.quality, text=text)
    write_atomically(path, data)
    told = about | {"result": about["result"] | {"sentence": sentence}}
    # The picture first: that the record is there says that the cell is done.
    write_atomically(
        path.with_suffix(".json"), records.to_json(told | {"settings": cell.settings, "curve": curve})
    )


def _note_idle_seeds(cells: list[Cell], say: Callable[[str], None]) -> None:
    seeds = {cell.config.seed for cell in cells}
    noisy = any("noise" in cell.config.init for cell in cells)
    if len(seeds) > 1 and not noisy:
        say("note: the seed is swept, but no cell begins with noise, so it changes nothing; set init")


# --- The folder -----------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    """Refuse, before any work, a folder that is not a sweep's or could not be written."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; a sweep is written to a folder: give another --output")
    if folder.is_dir() and any(folder.iterdir()):
        try:
            gallery.read_sweep(folder)
        except OutputError as error:
            if not _is_only_begun(folder):
                raise OutputError(f"{error}; give another --output") from None
    parent = folder if folder.is_dir() else folder.parent
    if not parent.is_dir():
        raise OutputError(f"{folder}: the folder {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: the folder {parent} is not writable")


def _is_only_begun(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {".state"}


@contextmanager
def _claimed(folder: Path, record: dict[str, Any], name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Make the folder a sweep's and claim a shard of it; give a folder for states and the sweep's record."""
    states = folder / ".state"
    try:
        folder.mkdir(exist_ok=True)
        for path in (folder / "cells", states / name):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    with _locked(states / "sweep.lock", wait=60.0):
        known = _settled(folder, record)
    with _locked(states / f"{name}.lock"):
        yield states / name, known
    with suppress(OSError):  # another shard is still at work
        states.rmdir()


@contextmanager
def _locked(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=wait)
    except filelock.Timeout:
        raise OutputError(
            f"{path.parent.parent}: shard {path.stem} is being painted by another process"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        lock.release()


def _settled(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the sweep that a folder is of, which is this one."""
    path = folder / "sweep.json"
    if not path.exists():
        write_atomically(path, records.to_json(record))
        write_atomically(
            folder / "config.yaml", configs.to_yaml(configs.load(base=record["config"])).encode()
        )
        return record
    known = gallery.read_sweep(folder)
    changed = _changed(records.plain(record), known)
    if changed:
        raise OutputError(
            f"{folder}: holds a sweep with other settings: {'; '.join(changed)}; give another --output"
        )
    return known


def _changed(record: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return what decides the pictures and is not as it was."""
    now, then = (_flat(r["config"]) for r in (record, known))
    found = [
        f"{key} is {_short(now.get(key))}, was {_short(then.get(key))}"
        for key in {**now, **then}
        if now.get(key) != then.get(key) and key not in _WORK_ONLY
    ]
    if record["encoder"]["digest"] != known["encoder"]["digest"]:
        found.append(
            f"the network is {record['encoder']['name']}, was {known['encoder']['name']} or other weights"
        )
    if not found and record["inputs"] != known["inputs"]:
        found.append("an input image has other pixels")
    return found


def _flat(settings: Any, before: str = "") -> dict[str, Any]:
    if isinstance(settings, list) and settings and all(isinstance(inner, dict) for inner in settings):
        settings = {str(i): inner for i, inner in enumerate(settings)}
    if not isinstance(settings, dict):
        return {before.rstrip("."): settings}
    return {k: v for key, inner in settings.items() for k, v in _flat(inner, f"{before}{key}.").items()}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _stamp(record: Mapping[str, Any]) -> str:
    """Return what a saved state must have been made by, to be gone on with."""
    settings = {k: v for k, v in _flat(records.plain(record["config"])).items() if k not in _WORK_ONLY}
    rest = [record["encoder"]["digest"], record["inputs"], record["versions"], record["device"]]
    return hashlib.sha256(json.dumps([settings, rest], sort_keys=True).encode()).hexdigest()

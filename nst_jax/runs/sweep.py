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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import filelock

from nst_jax import config as configs
from nst_jax import images
from nst_jax.config import Cell, Config
from nst_jax.errors import ConfigError, NstError, OutputError
from nst_jax.files import write_atomically
from nst_jax.images import Picture, maps
from nst_jax.runs import gallery, inputs, records

_WORK_ONLY = (
    "sweep.folder",
    "sweep.max_cells",
    "sweep.max_parallel",
    "sweep.lanes",
    "weights",
    "max_pixels",
    "images",
)
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
    encoder = inputs.encoder(config, download, say=say, notes=pictures.notes)
    ready = _prepared(cells, pictures, encoder)
    record = records.record(config, encoder.record(), pictures.digests) | {"kind": "sweep"}
    mine = [cell for cell in cells if cell.index % shard[1] == shard[0] - 1]
    name = f"{shard[0]}-of-{shard[1]}"
    with _claimed(folder, record, name) as (keep, known):
        for difference in records.differences(record, known | {"inputs": {}}):
            say(f"note: cells already there may differ in the last digits: {difference}")
        finished = {cell.index for cell in mine if gallery.is_done(folder, cell)}
        whole = _paint(config, folder, mine, ready, pictures, record, finished, callback, keep)
        if whole:
            shutil.rmtree(keep, ignore_errors=True)
    done = sum(gallery.read_cell(folder, cell) is not None for cell in cells)
    collection = gallery.collect(folder) if done == len(cells) else None
    return Outcome(folder, len(cells), done, not whole, time.perf_counter() - begun, collection)


def plan(
    config: Config, *, say: Callable[[str], None] = print, download: Callable[[int, int], None] | None = None
) -> str:
    """Return in words what a sweep would take of memory; it is compiled, but not run, and nothing is written.

    Raises:
        NstError: inputs that cannot be used, or too little memory.
    """
    cells, pictures = check(config)

    from nst_jax.transfer import fitting, lanes

    encoder = inputs.encoder(config, download, say=say, notes=pictures.notes)
    ready = _prepared(cells, pictures, encoder)
    lines = []
    for share in lanes.shares(ready, mode=config.sweep.lanes, max_parallel=config.sweep.max_parallel):
        height, width = share.tasks[0].content.shape[:2]
        evaluations = sum(task.evaluations for task in share.tasks)
        what = f"{len(share.tasks)} cell{'s' * (len(share.tasks) > 1)} of {width} x {height}"
        lines.append(
            f"{what}, {evaluations} evaluations, {share.at_once} at once: {fitting.gib(share.nbytes)} "
            "besides Python and JAX"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Pictures:
    """The pictures of a sweep: contents at their size, the others by name only, for they may be many."""

    contents: dict[tuple[Any, ...], Picture]
    """By `_content_key`."""
    digests: dict[str, str]
    """By what a picture is used for and its name."""
    maps: dict[tuple[Any, ...], dict[str, Any]]
    """Semantic maps, see `inputs.Inputs`, by `_maps_key`."""
    notes: list[str]

    def content(self, config: Config) -> Picture:
        """Return the content of one cell."""
        return self.contents[_content_key(config, inputs.names_of(config))]

    def of(self, config: Config) -> dict[str, str]:
        """Return the digests of one cell's pictures."""
        return {use: self.digests[f"{use} {name}"] for use, name in inputs.names_of(config).items()}


def check(config: Config) -> tuple[list[Cell], Pictures]:
    """Return the cells of a sweep and their pictures, or refuse what could not be painted or written.

    Raises:
        NstError: a sweep without axes, a picture that cannot be read, a folder of something else.
    """
    if not config.sweep.axes:
        raise ConfigError("sweep.axes: there is nothing to sweep: give settings with lists of values")
    if config.output.save_every:
        raise ConfigError("output.save_every: a sweep keeps no intermediate pictures; leave it at 0")
    images.check_suffix(Path(config.output.image), bits=config.output.bits)
    try:
        _check_folder(Path(config.sweep.folder), config)
    except (OSError, ValueError) as error:  # a name too long, a folder that may not be entered, ...
        raise OutputError(f"{config.sweep.folder}: cannot be used: {error}") from None
    cells = configs.cells(config)
    return cells, _read(cells)


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
        raise ConfigError(f"--shard {i}/{n}: there is no such shard; should be i/n with i from 1 to n")


# --- Painting -------------------------------------------------------------------------------------


def _read(cells: list[Cell]) -> Pictures:
    """Read each picture once."""
    found, shapes = Pictures({}, {}, {}, []), {}
    uses: dict[str, list[tuple[str, Config]]] = {}
    for cell in cells:
        names = inputs.names_of(cell.config)
        found.notes.extend(note for note in inputs.stand_ins(names) if note not in found.notes)
        _read_maps(found, cell.config, names)
        for use, name in names.items():
            if not use.endswith("_map"):
                uses.setdefault(name, []).append((use, cell.config))
    for name, used in uses.items():
        picture, digest = inputs.read_picture(name, cells[0].config.max_pixels)
        for use, config in used:
            found.digests[f"{use} {name}"] = digest
            key = _content_key(config, inputs.names_of(config))
            if use == "content" and key not in found.contents:
                found.contents[key] = inputs.content_of(config, picture, None, None)
            if use == "style":
                style = inputs.cropped(picture, config).rgb
                shapes[name, config.style.crop] = style.shape[:2]
                if inputs.is_texture(config) and key not in found.contents:
                    found.contents[key] = inputs.content_of(config, None, None, style)
    for cell in cells:
        names = inputs.names_of(cell.config)
        drawn = found.maps[_maps_key(cell.config, names)]
        if drawn:
            canvas = found.contents[_content_key(cell.config, names)].rgb
            maps.check_shape(drawn["content_map"], canvas.shape[:2], "content")
            maps.check_shape(drawn["style_map"], shapes[names["style"], cell.config.style.crop], "style")
    return found


def _content_key(config: Config, names: Mapping[str, str]) -> tuple[Any, ...]:
    """Return what decides a content at its size."""
    if "content" in names or "content_map" in names:
        return names.get("content", names.get("content_map")), config.size
    return names["style"], config.size, config.style.crop


def _maps_key(config: Config, names: Mapping[str, str]) -> tuple[Any, ...]:
    files = names.get("content_map"), names.get("style_map")
    return *files, config.style.kind, config.semantic.map, config.style.crop


def _read_maps(found: Pictures, config: Config, names: dict[str, str]) -> None:
    key = _maps_key(config, names)
    if key not in found.maps:
        found.maps[key], digests, notes = inputs.read_maps(config, names)
        found.digests.update({f"{use} {names[use]}": digest for use, digest in digests.items()})
        found.notes.extend(note for note in notes if note not in found.notes)
    if "content" not in names and "content_map" in names:
        doodle = inputs.content_of(config, None, found.maps[key]["content_map"], None)
        found.contents[_content_key(config, names)] = doodle


def _prepared(cells: list[Cell], pictures: Pictures, encoder: Any) -> dict[int, Any]:
    """Return the tasks of all cells. Equal images are one array, and tasks of one shape have equal layers."""
    from nst_jax.transfer import lanes
    from nst_jax.transfer import problem as tasks

    read = lru_cache(maxsize=1)(inputs.read_picture)
    styles: dict[Any, Any] = {}
    ready: dict[int, Any] = {}
    for cell in sorted(cells, key=lambda cell: str(cell.config.style.image)):  # each style is read once
        config, style = cell.config, cell.config.style
        names = inputs.names_of(config)
        content = pictures.content(config).rgb
        fit = inputs.fit_of(config)
        key = (names.get("style"), content.shape, style.crop, style.scale, fit)
        try:
            if "style" not in names:
                styles[key] = content
            if key not in styles:
                painting = inputs.cropped(read(names["style"], config.max_pixels)[0], config).rgb
                styles[key] = tasks.fitted(content, painting, scale=style.scale, fit=fit)[1]
            init = inputs.first_of(config)
            if "init" in names:
                if names["init"] not in styles:
                    styles[names["init"]] = inputs.read_picture(names["init"], config.max_pixels)[0].rgb
                init = styles[names["init"]]
            guides = pictures.maps[_maps_key(config, names)]
            options = {"init": init, "params": encoder.params} | guides | inputs.options(config)
            ready[cell.index] = tasks.prepare(content, styles[key], **options)
        except NstError as error:
            raise type(error)(f"cell {cell.index} ({cell.where}): {error}") from None
    # All cells, not only those of a shard: what comes of a cell does not depend on the shards.
    return dict(enumerate(lanes.align([ready[cell.index] for cell in cells])))


def _paint(
    config: Config,
    folder: Path,
    cells: list[Cell],
    ready: Mapping[int, Any],
    pictures: Pictures,
    record: dict[str, Any],
    finished: set[int],
    callback: Callable[[Any], object] | None,
    keep: Path,
) -> bool:
    from nst_jax.transfer import lanes

    by_index = {cell.index: cell for cell in cells}

    def write(index: int, result: Any, curve: lanes.Curve) -> None:
        cell = by_index[index]
        alpha = pictures.content(cell.config).alpha
        ended = records.ended(result)
        about = records.record(cell.config, record["encoder"], pictures.of(cell.config)) | {"result": ended}
        path = gallery.picture_of(folder, cell)
        records.write_picture(path, result.image, alpha=alpha, config=cell.config, record=about)
        about |= {"result": ended | {"sentence": result.sentence}, "settings": cell.settings, "curve": curve}
        # The picture first: that the record is there says that the cell is done.
        write_atomically(path.with_suffix(".json"), records.to_json(about))

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


def _note_idle_seeds(cells: list[Cell], say: Callable[[str], None]) -> None:
    seeds = {cell.config.seed for cell in cells}
    inits = [cell.config.init for cell in cells]
    noisy = any(init.get("noise") if isinstance(init, dict) else init == "noise" for init in inits)
    if len(seeds) > 1 and not noisy:
        say("note: the seed is swept, but no cell begins with noise, so it changes nothing; set init")


# --- The folder -----------------------------------------------------------------------------------


def _check_folder(folder: Path, config: Config) -> None:
    """Refuse, before any work, a folder that is not of this sweep or could not be written."""
    if "\0" in str(folder):
        raise ValueError("no name of a folder has a null character")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; a sweep is written to a folder: give another --output")
    if folder.is_dir() and not _is_only_begun(folder):
        try:
            known = gallery.read_sweep(folder)
        except OutputError as error:
            raise OutputError(f"{error}; give another --output") from None
        _refuse(folder, _changed_settings(config.model_dump(mode="json"), known["config"]))
    parent = folder if folder.is_dir() else folder.parent
    if not parent.is_dir():
        raise OutputError(f"{folder}: there is no folder {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: the folder {parent} is not writable")


def _is_only_begun(folder: Path) -> bool:
    """Tell whether a folder has nothing in it but what a sweep that was killed at once leaves."""
    rest = [path.name for path in folder.iterdir() if path.name != ".state"]
    begun = all(name.startswith(".sweep.json.") or name == "cells" for name in rest)
    return begun and ("cells" not in rest or not any((folder / "cells").iterdir()))


@contextmanager
def _claimed(folder: Path, record: dict[str, Any], name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Make the folder a sweep's and claim a shard of it; give a folder for states and the sweep's record."""
    states = folder / ".state"
    try:
        folder.mkdir(exist_ok=True)
        (states / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    with _locked(states / "sweep.lock", wait=60.0):
        known = _settled(folder, record)
        (folder / "cells").mkdir(exist_ok=True)
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
    path, record = folder / "sweep.json", records.plain(record)
    known = record
    if path.exists():
        known = gallery.read_sweep(folder)
        changed = _changed_settings(record["config"], known["config"])
        now, then = record["encoder"], known["encoder"]
        if now["digest"] != then["digest"]:
            changed.append(f"the network is {now['name']}, was {then['name']} or had other weights")
        pixels = {name for name, digest in record["inputs"].items() if known["inputs"].get(name) != digest}
        changed += [f"{name} has other pixels" for name in sorted(pixels)] if not changed else []
        _refuse(folder, changed)
    # How the work is done and what the axes are called may change.
    current = known | {"config": record["config"]}
    if not path.exists() or current != known:
        write_atomically(path, records.to_json(current))
    text = configs.to_yaml(configs.load(base=record["config"]))
    write_atomically(folder / "config.yaml", text.encode())
    return known


def _refuse(folder: Path, changed: list[str]) -> None:
    if changed:
        text = "; ".join(changed)
        raise OutputError(f"{folder}: holds a sweep with other settings: {text}; give another --output")


def _changed_settings(now: Any, then: Any) -> list[str]:
    """Return which settings decide the pictures and are not as they were."""
    new, old = _flat(now), _flat(then)
    return [
        f"{key} is {_short(new.get(key))}, was {_short(old.get(key))}"
        for key in {**new, **old}
        if new.get(key) != old.get(key) and _decides(key)
    ]


def _decides(key: str) -> bool:
    """Tell whether a setting decides what the pictures are."""
    words = key.startswith("sweep.axes.") and key.endswith((".title", ".labels"))
    return key not in _WORK_ONLY and not words


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
    settings = {key: value for key, value in _flat(records.plain(record["config"])).items() if _decides(key)}
    rest = [record["encoder"]["digest"], record["inputs"], record["versions"], record["device"]]
    return hashlib.sha256(json.dumps([settings, rest], sort_keys=True).encode()).hexdigest()

"""The folder of a sweep: whose it is, who works in it, and what its saved states must have been made by."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nst_jax import config as configs
from nst_jax.errors import OutputError
from nst_jax.files import make_folder, same_file, write_atomically
from nst_jax.runs import claims, gallery, records
from nst_jax.settings import Settings, as_dict


def check(folder: Path, settings: Settings) -> None:
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
        _refuse(folder, _changed_settings(as_dict(settings), known["config"]))
    parent = folder if folder.is_dir() else folder.parent
    if not parent.is_dir():
        raise OutputError(f"{folder}: there is no folder {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: the folder {parent} is not writable")


def keep_apart(folder: Path, reads: Iterable[Path]) -> None:
    """Refuse a folder in which a sweep would write over what it reads.

    Raises:
        OutputError: a file that is read is in there, through a link or not.
    """
    written = [path for path in folder.rglob("*") if path.is_file()]
    for path in reads:
        if there := same_file(path, written):
            raise OutputError(f"{there}: is an input of this sweep; give another --output")


def _is_only_begun(folder: Path) -> bool:
    """Tell whether a folder has nothing in it but what a sweep that was killed at once leaves."""
    rest = [path.name for path in folder.iterdir() if path.name != ".state"]
    begun = all(name.startswith(".sweep.json.") or name == "cells" for name in rest)
    return begun and ("cells" not in rest or not any((folder / "cells").iterdir()))


@contextmanager
def claimed(folder: Path, record: records.Record, name: str) -> Iterator[tuple[Path, records.Record]]:
    """Make the folder a sweep's and claim a shard of it; give a folder for states and the sweep's record.

    Raises:
        OutputError: the folder is of something else, or as `claims.claimed`.
    """

    def begin() -> records.Record:
        known = _settled(folder, record)
        make_folder(folder / "cells")
        return known

    busy = f"{folder}: shard {name} is being painted by another process"
    with claims.claimed(folder / ".state", name, busy, begin) as found:
        yield found


def _settled(folder: Path, record: records.Record) -> records.Record:
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
    text, file = configs.to_yaml(configs.load(base=record["config"])).encode(), folder / "config.yaml"
    if not file.is_file() or file.read_bytes() != text:  # it may be the config of this very command
        write_atomically(file, text)
    return known


def _refuse(folder: Path, changed: list[str]) -> None:
    if changed:
        text = "; ".join(changed)
        raise OutputError(f"{folder}: holds a sweep with other settings: {text}; give another --output")


def _changed_settings(now: object, then: object) -> list[str]:
    """Return which settings decide the pictures and are not as they were."""
    new, old = records.flat(now), records.flat(then)
    return [
        f"{key} is {_short(new.get(key))}, was {_short(old.get(key))}"
        for key in {**new, **old}
        if new.get(key) != old.get(key) and records.decides(key)
    ]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The folder of a run: who works in it, what may be replaced there, and how results get to their place.

Beside ``out.png`` is ``out.run``; while the run works, its files are in ``out.run.partial``, locked. Nothing
that the run reads is written or removed, and of what is there only what an earlier run of the same output
wrote. Once there is a picture, no trouble with other files costs it.
"""

import glob
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from nst_jax.errors import OutputError
from nst_jax.files import LockedError, check_folder, copied, locked, rescued, same_file, write_atomically
from nst_jax.runs import records

_OURS = re.compile(r"(step_\d+|picture)\.\w+|steps\.png|config\.yaml|loss\.svg|metrics\.jsonl|result\.json")
"""Names of the files that a run writes in its folder."""

_FRAME = re.compile(r"frame_\d+\.jpg")
"""Names of the frames of a run's film, which are in the workshop only, until they are joined."""

_HALF = re.compile(r"\.(.+\.)?[0-9a-f]{8}\.partial")
"""Names of files that were being written when a run was killed."""

_LOCK, _STATE = "lock", "state.npz"
"""Besides those, in the workshop only."""


def folder_of(output: Path) -> Path:
    """Return the folder of the run whose picture is ``output``."""
    return output.with_name(f"{output.stem}.run")


def _workshop_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def check(output: Path, *, reads: Iterable[Path], nbytes: int, film: Path | None = None) -> None:
    """Refuse, before any work, what could not be written or would cost the user a file.

    Args:
        output: where the picture goes.
        reads: every file that the run reads.
        nbytes: about what it will write.
        film: where the film of the run goes, if there shall be one.

    Raises:
        OutputError: the first reason found.
    """
    check_folder(output)
    folder = folder_of(output)
    if film and film.exists() and not has_film(output, film):
        raise OutputError(f"{film}: is not of an earlier run; move it or give another --output")
    written = [output, *_own_files(folder), *_own_files(_workshop_of(folder)), *([film] if film else [])]
    if not records.carries(output):
        written.append(output.with_suffix(".json"))
    for path in reads:
        if there := same_file(path, written):
            raise OutputError(
                f"{there}: is an input of this run and would be overwritten; give another --output"
            )
    if folder.exists() and not (folder / "result.json").is_file() and not _is_empty(folder):
        raise OutputError(f"{folder}: is not the folder of an earlier run; move it or give another --output")
    if not records.carries(output) and output.with_suffix(".json").exists() and not is_record(output):
        raise OutputError(f"{output.with_suffix('.json')}: is not of an earlier run; give another --output")
    free = shutil.disk_usage(output.parent).free
    if free < nbytes:
        raise OutputError(
            f"{output}: no space left: {free / 2**20:.0f} MiB free, {nbytes / 2**20:.0f} MiB wanted"
        )


def _own_files(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    return []


def has_film(output: Path, film: Path) -> bool:
    """Tell whether a film is that of an earlier run of the same output, or of one before that."""
    with suppress(OSError, ValueError, AttributeError):
        record = json.loads((folder_of(output) / "result.json").read_text(encoding="utf-8"))
        return bool(record.get("film") == film.name)
    return False


def _evaluations(path: Path) -> int:
    """Return after how many evaluations an intermediate picture, or a frame, was made; 0 of other files."""
    found = re.match(r"(?:step|frame)_(\d+)\.", path.name)
    return int(found[1]) if found else 0


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def is_record(output: Path) -> bool:
    """Tell whether a picture has a record of a run."""
    try:
        return "encoder" in records.read_record(output)
    except (OSError, ValueError, TypeError):
        return False


def free_name(output: Path) -> Path:
    """Return a name near ``output`` to which no other run writes at this moment."""
    names = (output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(2, 10_000))
    for name in (output, *names):
        workshop = _workshop_of(folder_of(name))
        try:
            if workshop.is_dir():
                with locked(workshop / _LOCK, ""):
                    pass
        except LockedError:
            continue
        return name
    return output


class Workshop:
    """The folder in which a run works. Files that cannot be written are noted, and the run goes on."""

    def __init__(self, output: Path, say: Callable[[str], None]) -> None:
        self.output = output
        self.folder = folder_of(output)
        self.path = _workshop_of(self.folder)
        self._trouble = ""
        """What could not be written, the first of it."""
        self._drawn: set[str] = set()
        """Names of the files that this run has written; of one that it goes on with there may be more."""
        self._say = say
        self._metrics: IO[str] | None = None

    @property
    def state(self) -> Path:
        """The file from which the run is gone on with, should it be interrupted."""
        return self.path / _STATE

    def begin(self, done: int = 0) -> list[records.Metric]:
        """Make place for the files of this run, open that of the metrics, and return those that are there.

        Args:
            done: evaluations of an interrupted run that is gone on with: what it wrote up to there stays.

        Raises:
            OutputError: it cannot be written to.
        """
        every = records.lines(self.path / "metrics.jsonl")
        metrics = [cast(records.Metric, line) for line in every if line["evaluations"] <= done]
        there = [*_own_files(self.path), *self.frames().values()]
        left = [path for path in there if not done or _evaluations(path) > done]
        if not done and self.state.exists():
            left.append(self.state)
        try:
            half = [path for path in self.path.iterdir() if _HALF.fullmatch(path.name)]
            half += self.output.parent.glob(f".{glob.escape(self.output.name)}.????????.partial")
            for path in (*left, *half):
                path.unlink()
            self._metrics = (self.path / "metrics.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from None
        for line in metrics:
            self.line(line)
        if done:
            what = f"going on after {done} evaluations of a run that did not end"
            self._say(f"{what}; to begin anew, remove {self.path}")
        elif left:
            self._say(f"removed from {self.path} what a run that did not end had left: {_listed(left)}")
        return metrics

    def line(self, metric: records.Metric) -> None:
        """Add a line to the metrics."""
        if self._metrics is None:
            return
        try:
            self._metrics.write(json.dumps(records.plain(dict(metric))) + "\n")
            self._metrics.flush()
        except OSError as error:
            self._note(OutputError(f"{self._metrics.name}: cannot be written: {error.strerror}"))
            self._close()

    def keep(self, name: str, data: bytes) -> None:
        """Write a file of the folder."""
        self.draw(name, lambda path: write_atomically(path, data))

    def draw(self, name: str, write: Callable[[Path], object]) -> None:
        """Let a function write a file of the folder, whole or not at all."""
        try:
            write(self.path / name)
            self._drawn.add(name)
        except OutputError as error:
            self._note(error)

    def files(self) -> list[str]:
        """Return the names of the files that are there by now."""
        return sorted(path.name for path in _own_files(self.path))

    def steps(self) -> dict[int, Path]:
        """Return the intermediate pictures that are there by now, by evaluations."""
        found = {_evaluations(path): path for path in _own_files(self.path)}
        return {number: found[number] for number in sorted(found) if number}

    def frames(self) -> dict[int, Path]:
        """Return the frames of the run's film that are there by now, by evaluations, in their order."""
        found: list[Path] = []
        with suppress(OSError):
            found = [path for path in self.path.iterdir() if _FRAME.fullmatch(path.name)]
        return {_evaluations(path): path for path in sorted(found, key=_evaluations)}

    def forget_frames(self) -> None:
        """Remove them."""
        for path in self.frames().values():
            path.unlink(missing_ok=True)

    def finish(self, write: Callable[[Path], object], record: bytes, *, goes_on: bool = False) -> None:
        """Move everything to its place, and the picture last: a copy of the folder's, if that is there.

        Args:
            write: writes the picture.
            record: the bytes of its record, for pictures that do not carry it.
            goes_on: the run may be gone on with: what that needs stays here as well.

        Raises:
            OutputError: something could not be written to its place; it says where the picture is.
        """
        self._close()
        drawn = self.path / f"picture{self.output.suffix}"
        is_drawn = drawn.name in self._drawn and drawn.is_file()
        try:
            self._settle(goes_on)
        except OSError as error:
            self._note(OutputError(f"{self.folder}: cannot be written: {error.strerror}"))
        place: Path | None = self.output
        try:
            if not records.carries(self.output):
                write_atomically(self.output.with_suffix(".json"), record)
            if not (is_drawn and self._is_copied(drawn)):
                write(self.output)
        except OutputError as error:
            self._note(error)
            place = rescued(write, self.output.suffix, beside=self.output)
        if self._trouble:
            where = f"the picture is in {place}" if place else "nor could the picture anywhere else"
            raise OutputError(f"{self._trouble}; {where}")

    def _is_copied(self, drawn: Path) -> bool:
        """Copy the picture of this run to its place, unless something is in the way."""
        with suppress(OutputError):
            copied(drawn if drawn.is_file() else self.folder / drawn.name, self.output)
            return True
        return False

    def _settle(self, goes_on: bool) -> None:
        """Move the files of a run to their place; those of an earlier run of the same output go."""
        self.folder.mkdir(exist_ok=True)
        earlier = _listed_files(self.folder, self.output.name)
        new = _own_files(self.path)
        for path in new:
            if goes_on and (_evaluations(path) or path.name == "metrics.jsonl"):
                shutil.copyfile(path, self.folder / path.name)
            else:
                path.replace(self.folder / path.name)
        stale = [self.folder / name for name in earlier - {path.name for path in new}]
        stale = sorted(path for path in stale if path.is_file())
        for path in stale:
            path.unlink()
        if stale:
            self._say(f"removed from {self.folder} what the run before had left: {_listed(stale)}")

    def _note(self, error: OutputError) -> None:
        if not self._trouble:
            self._trouble = str(error)
            self._say(f"note: {error}; the picture will be written all the same")

    def _close(self) -> None:
        if self._metrics is not None:
            with suppress(OSError):
                self._metrics.close()
            self._metrics = None

    def leave(self) -> None:
        """Remove what is of no use any more: all, if the run ended before its first evaluation."""
        self._close()
        metrics = self.path / "metrics.jsonl"
        with suppress(OSError):
            if metrics.exists() and not metrics.stat().st_size:
                for path in [*_own_files(self.path), *self.frames().values()]:
                    path.unlink()


@contextmanager
def claimed(output: Path, say: Callable[[str], None]) -> Iterator[Workshop]:
    """Give the workshop of a run, to which no other run writes meanwhile.

    Raises:
        LockedError: another run works there.
        OutputError: it cannot be written to.
    """
    workshop = Workshop(output, say)
    try:
        workshop.path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{workshop.path}: cannot be written: {error.strerror}") from None
    try:
        busy = f"{output}: is being painted by another run; give another --output"
        with locked(workshop.path / _LOCK, busy):
            try:
                yield workshop
            finally:
                workshop.leave()
    finally:
        with suppress(OSError):  # it is another's, or has files of the user
            workshop.path.rmdir()


def _listed_files(folder: Path, output: str) -> set[str]:
    """Return the names that a folder's record lists, if it is of a run with the same output."""
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if Path(record["config"]["output"]["image"]).name != output:
            return set()
        return {name for name in record["files"] if _OURS.fullmatch(name)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _listed(paths: Iterable[Path]) -> str:
    names = [path.name for path in paths]
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"

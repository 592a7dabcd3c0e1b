"""The files of a batch: which photographs there are, where their pictures go, and which of these are done."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from nst_jax import images
from nst_jax.errors import ConfigError, OutputError
from nst_jax.files import check_folder, make_folder, write_atomically
from nst_jax.images import FloatArray
from nst_jax.runs import claims, inputs, records, run_folder
from nst_jax.runs.painting import Files
from nst_jax.settings import Settings
from nst_jax.transfer.pictures import Size

if TYPE_CHECKING:
    from nst_jax.transfer.batch import Curve
    from nst_jax.transfer.looks import Result

FIELDS = ("name", "style")
"""What a pattern may have in braces: the photograph's name and the style's, without their endings."""

_NAMED = ("content.image", "style.image", "output.image")
"""Settings that say what the files are called; of their pixels, the record has digests."""

_HALF = re.compile(r"\.(.+)\.[0-9a-f]{8}\.partial")


@dataclass(frozen=True)
class Job:
    """A picture to be painted."""

    photograph: str
    styles: tuple[str, ...]
    """One, or several that are mixed."""
    output: Path

    @property
    def written(self) -> tuple[Path, ...]:
        """The files that it writes."""
        record = () if records.carries(self.output) else (self.output.with_suffix(".json"),)
        return (self.output, *record)

    def settings(self, common: Settings) -> Settings:
        """Return the settings of its run, given those of all."""
        style = self.styles[0] if len(self.styles) == 1 else self.styles or None
        return common.with_values(dict(zip(_NAMED, (self.photograph, style, str(self.output)), strict=True)))


def photographs(paths: Iterable[str], *, recursive: bool = False) -> list[str]:
    """Return the pictures that paths stand for: files and samples as they are, and the pictures in folders.

    Args:
        paths: of files or folders. In folders count files whose names end as those of pictures do, and which
            are not hidden; 2.jpg comes before 10.jpg.
        recursive: whether folders within folders are looked at.

    Raises:
        ConfigError: there is no such file or folder, or a folder has no picture.
    """
    found: dict[str, str] = {}
    for path in paths:
        inside = [path]
        if inputs.sample_of(path) is None and os.path.isdir(path):
            inside = sorted(_inside(path, recursive), key=_naturally)
            if not inside:
                more = "" if recursive else "; --recursive looks into folders within it"
                raise ConfigError(f"{path}: there is no picture in this folder{more}")
        elif inputs.sample_of(path) is None and not os.path.exists(path):
            raise ConfigError(f"{path}: no such file or folder")
        found |= {os.path.abspath(each): each for each in inside if os.path.abspath(each) not in found}
    return list(found.values())


def _inside(folder: str, recursive: bool) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from None

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in images.READABLE:
                yield os.path.join(place, name)


def _naturally(path: str) -> list[tuple[str | int, ...]]:
    """Return what paths are sorted by, folder by folder, and numbers in them as such."""
    parts = (re.split("([0-9]+)", part) for part in Path(path).parts)
    return [tuple(int(p) if i % 2 else p.casefold() for i, p in enumerate(part)) for part in parts]


def jobs(settings: Settings, files: Sequence[str], pattern: str, *, mix: bool) -> list[Job]:
    """Return what there is to paint: each photograph in each style, or with ``mix`` in all of them at once.

    Of the photographs are left out pictures that earlier calls have painted of the others, and maps of them.

    Raises:
        NstError: settings that are not for many photographs, a pattern that cannot be used, a picture that
            would be written twice, or over an input or a file of someone else.
    """
    _check_settings(settings, mix)
    names = inputs.styles_of(settings)
    styles = [names] if mix or not names else [(name,) for name in names]
    images.check_suffix(pattern, bits=settings.output.bits)
    if inputs.is_guided(settings):
        maps = {os.path.abspath(Path(file).with_name(f"{_stem(file)}_sem.png")) for file in files}
        files = [file for file in files if os.path.abspath(file) not in maps]

    def every(files: Sequence[str]) -> list[Job]:
        return [Job(f, style, Path(named(pattern, f, style))) for style in styles for f in files]

    ours = {os.path.abspath(job.output) for job in every(files)}
    files = [f for f in files if os.path.abspath(f) not in ours or not run_folder.is_record(Path(f))]
    found = every(files)
    if not found:
        raise ConfigError("there is no photograph to paint")
    _check_outputs(found, {path for job in found for path in inputs.files_of(job.settings(settings))})
    return found


def _check_settings(settings: Settings, mix: bool) -> None:
    for key in inputs.OF_ONE_PICTURE:
        if settings.value(key) not in (None, "none"):
            raise ConfigError(f"{key}: is of one picture, and there are many: leave it out")
    if settings.sweep.axes:
        raise ConfigError("sweep.axes: a batch is not swept: give one value of each setting")
    if settings.output.save_every:
        raise ConfigError("output.save_every: a batch keeps no intermediate pictures; leave it at 0")
    if settings.style.shares and not mix:
        raise ConfigError("style.shares: are of styles that are mixed: give --mix as well")
    if not inputs.styles_of(settings) and settings.style.weight != 0:
        raise ConfigError("style.image: no style image given: use --style FILE, or sample:NAME")


def pattern_of(output: str, several: bool) -> str:
    """Return the pattern that pictures are named by, given that, or a folder for them.

    Raises:
        ConfigError: a field that there is not, or braces that do not match.
    """
    is_there, fields = os.path.isdir(output), []
    with contextlib.suppress(ValueError) if is_there else _complaining(output):
        fields = [each for each in Formatter().parse(output) if each[1] is not None]
    endings = (*images.SUFFIXES, *images.READABLE)
    if is_there or not (fields or Path(output).suffix.lower() in endings):
        folder = output.replace("{", "{{").replace("}", "}}") if is_there else output
        return os.path.join(folder, "{name}_{style}.png" if several else "{name}.png")
    for _, field, form, conversion in fields:
        if field not in FIELDS or form or conversion:
            raise ConfigError(
                f"{output}: there is no {{{field}}}; allowed: {{name}}, {{style}}; a brace itself is written "
                "twice"
            )
    return output


@contextlib.contextmanager
def _complaining(output: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise ConfigError(
            f"{output}: braces should be around name or style; a brace itself is written twice"
        ) from None


def named(pattern: str, photograph: str, styles: Sequence[str]) -> str:
    """Return the name of a picture."""
    return pattern.format(name=_stem(photograph), style="+".join(map(_stem, styles)))


def _stem(name: str) -> str:
    return Path(name).stem if inputs.sample_of(name) is None else name.partition(":")[2]


def root_of(output: str) -> Path:
    """Return the innermost folder that all pictures are in, given their pattern."""
    before = next(iter(Formatter().parse(output)))[0]
    return Path(os.path.dirname(before))


def _check_outputs(found: Sequence[Job], reads: Collection[Path]) -> None:
    """Refuse, before any work, what would be written twice or cost the user a file.

    Raises:
        OutputError: the first reason found.
    """
    taken: dict[str, Job] = {}
    known = {identity: path for path in reads if (identity := _identity(path))}
    for job in found:
        place = os.path.abspath(job.output)
        if other := taken.get(place):
            both = [" in the style of ".join((each.photograph, *each.styles[:1])) for each in (other, job)]
            raise OutputError(
                f"{job.output}: would be written twice, for {both[0]} and for {both[1]}: give an --output "
                "with {name} and {style}, or other names"
            )
        taken[place] = job
        for path in job.written:
            identity = _identity(path)
            if identity and (there := known.get(identity)):
                raise OutputError(
                    f"{path}: would be written over {there}, an input of this batch; give another --output"
                )
        for path in job.written[1:]:
            if path.exists() and not run_folder.is_record(job.output):
                raise OutputError(f"{path}: is not the record of a run; give another --output")
        _check_place(job.output)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from others, through links of any kind; None if it is not there."""
    with contextlib.suppress(OSError, ValueError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _check_place(path: Path) -> None:
    """Refuse a path that cannot be written; folders that are not there are to be made."""
    folder = path.parent
    if folder.is_dir():
        check_folder(path)
        return
    try:
        there = next(each for each in folder.parents if os.path.lexists(each))
        fine = there.is_dir() and os.access(there, os.W_OK | os.X_OK) and not os.path.lexists(folder)
    except (OSError, ValueError):  # a name that cannot be
        fine = False
    if not fine:
        raise OutputError(f"{path}: the folder {folder} cannot be made")


def lease_of(job: Job, root: Path) -> str:
    """Return the name of a picture's lease: the same in all processes, whatever else each of them paints."""
    below = os.path.relpath(job.output, root)
    return hashlib.sha256(os.fsencode(below)).hexdigest()[:32]


@contextlib.contextmanager
def claimed(root: Path, found: Iterable[Job], *, is_shared: bool = False) -> Iterator[Path]:
    """Make the folders of the pictures, and remove halves of these; give one for what is kept meanwhile.

    No other batch works there meanwhile, but those that share it if this one does.

    Raises:
        LockedError: another batch works there.
        OutputError: they cannot be made, or not be written to.
    """
    by_folder: dict[Path, set[str]] = {root: set()}
    for job in found:
        by_folder.setdefault(job.output.parent, set()).update(path.name for path in job.written)

    states = root / ".batch"

    def begin() -> None:
        for folder, names in by_folder.items():
            make_folder(folder)
            for name in names:
                check_folder(folder / name)

    def tidy() -> None:
        shutil.rmtree(states / claims.AUTO, ignore_errors=True)
        for folder, names in by_folder.items():
            for path in list(folder.iterdir()) if folder.is_dir() else ():
                half = _HALF.fullmatch(path.name)
                if half and half[1] in names:
                    path.unlink(missing_ok=True)

    make_folder(root)
    busy, name = f"{root}: another batch is painted there", claims.AUTO if is_shared else claims.ALL
    with claims.claimed(states, name, busy, begin, tidy) as (keep, _):
        yield keep


def stamp_of(record: records.Record) -> str:
    """Return what two pictures have in common that are made alike, whatever of."""
    return records.stamp(record | {"inputs": {}}, without=(*_NAMED, "sweep.", "film."))


def is_made(job: Job, stamp: str) -> dict[str, str] | None:
    """Return the digests of what the picture of a job was made of, if it is whole and made alike."""
    try:
        record = records.read_record(job.output)
        is_whole = job.output.is_file() and record["result"]["status"] in ("finished", "stalled")
        if is_whole and not record.get("changes") and stamp_of(record) == stamp:
            return dict(record["inputs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


@dataclass(frozen=True, eq=False)
class Encoder:
    """What a picture's files are made with, wherever they are made."""

    job: Job
    settings: Settings
    network: records.Record
    digests: Mapping[str, str]
    alpha: FloatArray | None
    canvas: Size | None

    def __call__(self, result: "Result", curve: "Curve") -> Files:
        """Return the picture, and the record beside it if it does not carry that; nothing if it is none.

        Raises:
            NstError: as `images.encode`.
        """
        if result.status == "not finite":
            return {}
        record = records.record(self.settings, self.network, self.digests) | {"result": records.ended(result)}
        record |= {"canvas": list(self.canvas)} if self.canvas else {}
        name = self.job.output.name
        picture = records.encode(name, result.image, alpha=self.alpha, settings=self.settings, record=record)
        return {name: picture} | {path.name: records.to_json(record) for path in self.job.written[1:]}


def write(job: Job, files: Files) -> None:
    """Write the picture of a job with its record.

    Raises:
        OutputError: it cannot be written.
    """
    for path in job.written[1:]:  # an earlier record must not vouch for another picture, however this ends
        with contextlib.suppress(OSError):
            path.unlink()
    for path in job.written:
        write_atomically(path, files[path.name])

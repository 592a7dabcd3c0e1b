"""A film: every frame is painted, going on from the one before, which is moved along with what is seen.

Finished frames are in ``OUT.film``, beside the film that is made of them in the end, so that the same command
goes on with work that was interrupted. What follows is computed from them as they are there, in 8 bits: the
frames of a film that was interrupted are those of one that was not.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nst_jax import images
from nst_jax.errors import ConfigError, OutputError
from nst_jax.files import check_folder, locked, same_file, write_atomically
from nst_jax.films import ffmpeg
from nst_jax.images import FloatArray
from nst_jax.motion.cuts import is_cut
from nst_jax.motion.flow import flow
from nst_jax.motion.masks import consistent
from nst_jax.motion.warp import warped
from nst_jax.runs import inputs, records
from nst_jax.settings import LONGEST, Settings
from nst_jax.transfer.pictures import Frames, Pictures, bounded_size
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.problem import Problem
    from nst_jax.transfer.program import Shapes

_RECORD, _METRICS = "film.json", "metrics.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far a film is."""

    frame: int
    """Those that are done."""
    frames: int | None
    """About how many there are."""
    loss: float
    seconds: float
    left: float | None


@dataclass(frozen=True)
class Outcome:
    """How the work on a film ended."""

    output: Path
    frames: int
    """That are painted by now."""
    seconds: float
    is_interrupted: bool


@dataclass(frozen=True, eq=False)
class Moved:
    """A frame of the film, and how it follows from the one before."""

    number: int
    content: FloatArray
    flow: FloatArray | None = None
    """Backward: where each of its pixels was; None: it follows nothing, being the first or after a cut."""
    trust: FloatArray | None = None
    """1 where that is so, ``(height, width)``."""


def run(
    settings: Settings,
    source: Path,
    output: Path,
    *,
    callback: Callable[[Progress], object] = lambda progress: None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
) -> Outcome:
    """Paint a film.

    Args:
        settings: of each frame, and ``film``; they name no content.
        source: the film.
        output: the new one; its sound is the old one's.
        callback: called after every frame; the work stops if it returns True, and the same call goes on.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: a film or painting that cannot be read, settings that are not for films, a place that cannot
            be written.
    """
    begun = time.perf_counter()
    check(settings)
    ffmpeg.check_output(output, settings.film.codec)
    check_folder(output)
    if same_file(output, [source, *map(Path, _files(settings))]):
        raise OutputError(
            f"{output}: is an input of this film and would be overwritten; give another --output"
        )
    film = ffmpeg.probe(source)
    folder = output.with_name(f"{output.stem}.film")
    with _claimed(folder, output):
        painter = _Painter(settings, inputs.network(settings, download, say=say))
        stamp = painter.stamp(source, film)
        done = _done(folder, stamp, say)
        before = _read(folder, done) if done else None
        with contextlib.closing(_moved(film, settings, say, begin=done)) as frames:
            for frame in frames:
                since = time.perf_counter()
                result = painter.painted(frame, before)
                if not done:  # not before: what is refused leaves all as it was
                    _begin(folder, stamp, say)
                before = _kept(folder, frame.number, result.image)
                seconds = time.perf_counter() - since
                line: dict[str, Json] = {"frame": frame.number, "follows": frame.flow is not None}
                line |= {"loss": result.loss, "terms": records.by_kind(result.terms)}
                line |= {"evaluations": result.evaluations, "seconds": round(seconds, 3)}
                with (folder / _METRICS).open("a", encoding="utf-8") as metrics:
                    metrics.write(json.dumps(records.plain(line)) + "\n")
                done = frame.number
                left = None if film.frames is None else max(0, film.frames - done) * seconds
                progress = Progress(done, film.frames, result.loss, time.perf_counter() - begun, left)
                if callback(progress) is True:
                    return Outcome(output, done, time.perf_counter() - begun, True)
        _joined(folder, done, film, output, settings, say)
    shutil.rmtree(folder, ignore_errors=True)
    return Outcome(output, done, time.perf_counter() - begun, False)


def check(settings: Settings) -> None:
    """Refuse settings that films have no use for.

    Raises:
        ConfigError: the first of them.
    """
    for key in ("content.image", *inputs.OF_ONE_PICTURE):
        if settings.value(key) is not None:
            raise ConfigError(f"{key}: is of one picture, and this is a film: leave it out")
    if settings.sweep.axes:
        raise ConfigError("sweep.axes: a film is not swept: give one value of each setting")
    if settings.solver.kind == "lbfgsb":
        raise ConfigError("solver.kind: lbfgsb is for single pictures: use lbfgs")
    if not inputs.styles_of(settings):
        raise ConfigError("style.image: no style image given: use --style FILE, or sample:NAME")


class _Painter:
    """Paints frame after frame by one program; what all frames have in common is computed once."""

    def __init__(self, settings: Settings, network: "Network") -> None:
        from nst_jax.transfer.remembering import remembering

        self.network, self.remember = network, remembering(16)
        self.settings = replace(settings, size=settings.size or LONGEST)
        read = [inputs.read_picture(name, settings.max_pixels) for name in inputs.styles_of(settings)]
        self.styles = tuple(inputs.with_alpha(picture) for picture, _ in read)
        self.digests = [digest for _, digest in read]
        later = max(1, round(settings.film.later * settings.solver.evaluations))
        self.later = self.settings.with_values({"solver.evaluations": later, "pyramid.levels": 1})
        self._fitted: tuple[Problem, Shapes] | None = None

    def stamp(self, source: Path, film: ffmpeg.Film) -> str:
        """Return what finished frames must have been made by to be gone on with."""
        record = records.record(self.settings, self.network.record(), {})
        status = source.stat()
        of_film = [film.width, film.height, str(film.rate), status.st_size, status.st_mtime_ns]
        inputs_ = {"styles": self.digests, "film": of_film}
        return records.stamp(record | {"inputs": inputs_}, without=("output.", "film.codec"))

    def painted(self, frame: Moved, before: FloatArray | None) -> "Result":
        """Return a frame painted, given the one before as it was painted."""
        from nst_jax.transfer.loop import solve
        from nst_jax.transfer.problem import make_problem
        from nst_jax.transfer.stretch import Batch

        pictures = Pictures(frame.content, self.styles)
        if before is None or frame.flow is None or frame.trust is None:
            nowhere = np.zeros(frame.content.shape[:2], np.float32)
            pictures = replace(pictures, past=self._past(frame.content, nowhere))
            problem = make_problem(pictures, self.settings, self.network)
            return solve(Batch((problem,)), remember=self.remember)[0]
        moved = warped(before, frame.flow)
        pictures = replace(pictures, init=moved, past=self._past(moved, frame.trust))
        problem = make_problem(pictures, self.later, self.network)
        fitted, shapes = self._fit(problem)
        problem = replace(problem, program=fitted.program, open=())
        return solve(Batch((problem,), shapes=shapes), is_fitted=True, remember=self.remember)[0]

    def _fit(self, problem: "Problem") -> "tuple[Problem, Shapes]":
        from nst_jax.transfer import memory

        if self._fitted is None:
            fitted = memory.fit(problem)[0]
            self._fitted = fitted, memory.shapes_of(fitted)
        return self._fitted

    def _past(self, image: FloatArray, trust: FloatArray) -> Frames:
        return Frames(image[None], trust[None, :, :, None], self.settings.film.consistency)


def _moved(
    film: ffmpeg.Film, settings: Settings, say: inputs.Say, *, begin: int
) -> Generator[Moved, None, None]:
    """Give the frames from one on, numbered from 1, each with its motion, which is estimated ahead."""

    def following(earlier: FloatArray | None, content: FloatArray, number: int) -> Moved:
        if earlier is None:
            return Moved(number, content)
        method = settings.film.flow
        backward = flow(earlier, content, method=method)
        if is_cut(earlier, content, backward):
            return Moved(number, content)
        forward = flow(content, earlier, method=method)
        return Moved(number, content, backward, consistent(forward, backward))

    with (
        ThreadPoolExecutor(1) as ahead,
        contextlib.closing(ffmpeg.frames(film, say, begin=max(0, begin - 1))) as read,
    ):
        earlier, waiting = None, None
        for number, frame in enumerate(read, max(1, begin)):
            unit = frame.astype(np.float32) / np.float32(255)
            content = images.resize(unit, bounded_size(unit.shape, settings))
            if number > begin:
                coming = ahead.submit(following, earlier, content, number)
                if waiting:
                    yield waiting.result()
                waiting = coming
            earlier = content
        if waiting:
            yield waiting.result()


def _joined(
    folder: Path, frames: int, film: ffmpeg.Film, output: Path, settings: Settings, say: inputs.Say
) -> None:
    """Make the film of the frames that are painted."""
    height, width = _read(folder, 1).shape[:2]
    sound = film.path if film.has_sound else None
    options: dict[str, Json] = {
        "codec": settings.film.codec,
        "sound": sound,
        "aspect": film.aspect,
    }
    with ffmpeg.writing(output, (height, width), film.rate, say=say, **options) as write:
        for number in range(1, frames + 1):
            write(np.rint(_read(folder, number) * 255).astype(np.uint8))


def _frame(folder: Path, number: int) -> Path:
    return folder / f"frame_{number:06d}.png"


def _read(folder: Path, number: int) -> FloatArray:
    return images.read(_frame(folder, number)).rgb


def _kept(folder: Path, number: int, image: FloatArray) -> FloatArray:
    """Write a frame, and return it as it is there."""
    images.write(_frame(folder, number), image)
    return _read(folder, number)


def _done(folder: Path, stamp: str, say: inputs.Say) -> int:
    """Return how many frames of this film are painted already."""
    try:
        known = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    done = 0
    if isinstance(known, dict) and known.get("stamp") == stamp:
        while _frame(folder, done + 1).is_file():
            done += 1
    if done:
        say(f"going on after {done} frames that are painted; to begin anew, remove {folder}")
    return done


def _begin(folder: Path, stamp: str, say: inputs.Say) -> None:
    """Make the folder this film's: what others left there goes."""
    left = sorted(folder.glob("frame_*.png"))
    for path in [*left, folder / _METRICS]:
        path.unlink(missing_ok=True)
    if left:
        say(f"removed from {folder} {len(left)} frames that other settings, or another film, had left")
    write_atomically(folder / _RECORD, records.to_json({"stamp": stamp}))


@contextlib.contextmanager
def _claimed(folder: Path, output: Path) -> Iterator[None]:
    """Make the folder of a film's frames, in which no other process works meanwhile."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _RECORD).is_file():
        raise OutputError(f"{folder}: is not the folder of an earlier film; move it or give another --output")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        with locked(folder / "lock", f"{output}: is being painted by another process; give another --output"):
            yield
    finally:
        with contextlib.suppress(OSError):  # there are frames in it
            folder.rmdir()


def _files(settings: Settings) -> list[str]:
    return [name for name in inputs.styles_of(settings) if inputs.sample_of(name) is None]

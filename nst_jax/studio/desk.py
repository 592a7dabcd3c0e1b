"""Who knows of runs: their queue, the one being painted, pictures that were given, files that were saved."""

import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from nst_jax import config as configs
from nst_jax import samples
from nst_jax.errors import ConfigError, NstError, OutputError
from nst_jax.runs import inputs, single, sweep
from nst_jax.runs.steering import Moment
from nst_jax.settings import Settings
from nst_jax.studio import compilations, controls, grid
from nst_jax.studio.answers import report_bug
from nst_jax.studio.board import Board
from nst_jax.studio.canvas import Canvas
from nst_jax.studio.grid import Grid
from nst_jax.studio.preview import jpeg
from nst_jax.studio.uploads import MOST_PIXELS, THUMBNAIL, Uploads
from nst_jax.typing import Json

MOMENTS_BYTES = 2**28
"""Of all moments together; beyond, those of the oldest runs go."""

FIRST = {"content.image": "sample:chelsea", "style.image": "sample:starry_swirls", "size": 256}
"""What a page begins with that was given nothing: a picture moves soon after start is pressed."""

_MEGABYTES = 64

_NEWS_SECONDS = 0.2
"""Between two times that a page is told what is new, at least."""

_LATELY = 20.0
"""Seconds in which a page that is open asks again."""


class Desk:
    """The runs of a page.

    Args:
        settings: that a run has unless the page says otherwise.
        folder: where pictures and uploads go.
        mode: ``studio``; ``run`` or ``sweep`` if there is one, of a command, and nothing else is begun.

    Raises:
        NstError: a picture that settings name cannot be read.
    """

    def __init__(self, settings: Settings, folder: Path, mode: str = "studio") -> None:
        self.settings, self.folder, self.mode = settings, folder, mode
        self.board = Board()
        self.uploads = Uploads(folder / "uploads")
        self.canvases: dict[int, Canvas] = {}
        self.is_over = False
        self.busy: int | None = None
        self._lock = threading.RLock()
        self._count = self._runs = 0
        self._given: dict[str, str] = {}
        """Names of pictures in settings, by what the page calls them."""
        self.known_as: dict[str, str] = {}
        """The reverse."""
        self._thumbnails: dict[str, bytes] = {}
        """Of those that the settings name."""
        self._called: dict[str, str] = {}
        """What people call pictures, by their names in settings."""
        self._saved: dict[str, Path] = {}
        self._asked = -math.inf
        """When a page last asked for news."""
        values = controls.values_of(settings)
        for name in (values[key] for key in controls.PICTURES):
            if isinstance(name, str) and name != "none" and not name.startswith("sample:"):
                self._know_given(name)

    # For the server.

    def about(self) -> dict[str, Json]:
        """Return what the page needs to know before anything else."""
        from importlib.metadata import version

        kinds = {name: sample.kind for name, sample in samples.CREDITS.items()}
        return {
            "mode": self.mode,
            "version": version("nst_jax"),
            "controls": controls.described(self.settings),
            "samples": [
                {"name": f"sample:{name}", "credit": sample.description, "use": kinds[name]}
                for name, sample in samples.CREDITS.items()
            ],
            "limits": {"megabytes": _MEGABYTES, "megapixels": MOST_PIXELS // 1_000_000},
            "values": self._named(controls.values_of(self.settings)),
            "folder": str(self.folder),
        }

    def events(self, seen: dict[str, Json], timeout: float) -> list[tuple[str, dict[str, Json]]]:
        """Wait for what ``seen`` does not know, at most ``timeout`` seconds, and make it known to it."""
        self._asked = time.monotonic()
        self.board.wait(lambda: self.board.version != seen.get("board"), timeout)
        time.sleep(max(0.0, min(timeout, seen.get("at", -math.inf) + _NEWS_SECONDS - time.monotonic())))
        found: list[tuple[str, dict[str, Json]]] = []
        with self._lock:
            seen["board"], seen["at"] = self.board.version, time.monotonic()
            state = self._state()
            canvases = list(self.canvases.values())
        is_news, seen["studio"] = state != seen.get("studio"), state
        if is_news and not state["is_over"]:
            found.append(("studio", state))
        for canvas in canvases:
            if canvas.version == seen.get(f"run {canvas.number}"):
                continue
            seen[f"run {canvas.number}"] = canvas.version
            found.append(("run", canvas.described()))
            cut, begin = seen.get(f"points {canvas.number}", (0, 0))
            begin = begin if cut == canvas.thinned else 0
            points, end = canvas.points(begin)
            if points:
                found.append(("points", {"run": canvas.number, "from": begin, "points": points}))
            seen[f"points {canvas.number}"] = (canvas.thinned, end)
        if is_news and state["is_over"]:  # nothing comes after that
            found.append(("studio", state))
        return found

    def picture(self, run: int, after: int, timeout: float) -> tuple[bytes, int] | None:
        """Wait for a JPEG with a version above ``after``, at most ``timeout`` seconds."""
        return self._canvas(run).preview.wait(after, timeout)

    def shown(self, run: int, what: str, number: int) -> bytes:
        """Return a JPEG of a run: its content, the small one, one of its moments or cells."""
        return self._canvas(run).shown(what, number)

    def thumbnail(self, name: str) -> bytes:
        """Return a small JPEG of ``sample:NAME`` or ``upload:ID``."""
        if name.startswith("sample:"):
            if name.removeprefix("sample:") not in samples.CREDITS:
                raise LookupError("there is no such sample")
            return jpeg(samples.load(name.removeprefix("sample:")), THUMBNAIL)
        return self._thumbnails.get(name) or self.uploads.thumbnail(name)

    def config(self, run: int) -> tuple[str, bytes]:
        """Return a file's name and the present settings of a run as YAML."""
        canvas = self._canvas(run)
        stem = Path(canvas.settings.output.image).stem
        return f"{stem}.yaml", configs.to_yaml(canvas.steering.settings).encode()

    def saved(self, name: str) -> Path:
        """Return where a picture is that was saved under a name."""
        if name not in self._saved:
            raise LookupError("there is no such file")
        return self._saved[name]

    def upload(self, name: str, data: bytes) -> dict[str, Json]:
        """Keep a picture's file."""
        self._refuse_unless_studio()
        found = self.uploads.add(name, data)
        path = str(self.uploads.path(found["id"]))
        with self._lock:
            self._know(found["id"], path)
            self._called[path] = Path(found["name"]).stem
        return found

    def start(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Put a run into the queue."""
        self._refuse_unless_studio()
        return {"run": self._queue(self._settings(values))}

    def grid(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Put a grid of runs around some settings into the queue."""
        self._refuse_unless_studio()
        settings = self._settings(values)
        with self._lock:
            folder = self.folder / f"{self._next():03d}.grid"
            found = grid.around(settings, folder)
            title = f"9 around {self._title(settings)}"
            return {
                "run": self._add(Grid(self._count + 1, title, found, self.board, self.known_as, settings))
            }

    def act(self, run: int, verb: str, body: Mapping[str, Json]) -> dict[str, Json]:
        """Do something with a run."""
        canvas = self._canvas(run)
        if verb == "save":
            return self._save(canvas)
        if verb == "remove":
            return self._remove(canvas)
        if verb == "branch":
            return {"run": self._branch(canvas, canvas.moment(body.get("moment")), body.get("values", {}))}
        if verb == "more":
            return {"run": self._more(canvas, body.get("evaluations"))}
        canvas.act(verb, body)
        return {}

    # For the command.

    def adopt(self, canvas: Canvas) -> None:
        """Show a run that a command paints."""
        with self._lock:
            self.busy = self._add(canvas)

    def work(self, wait: float = 0.5) -> None:
        """Paint the runs of the queue, one after another, until all is over."""
        self._prepare()
        while not self.is_over:
            canvas = self._take()
            if canvas is None:
                known = self.board.version
                self.board.wait(lambda known=known: self.board.version != known or self.is_over, wait)  # type: ignore[misc]
                continue
            self._paint(canvas)
            self.busy = None
            self._trim()
            self._changed()

    def close(self) -> None:
        """End the run that is being painted, with its picture saved, and begin no other."""
        self.is_over = True
        for canvas in list(self.canvases.values()):
            canvas.steering.stop()
        self._changed()

    def leave(self) -> None:
        """Tell all pages that nothing more will come."""
        self.is_over, self.busy = True, None
        self._changed()

    @property
    def is_watched(self) -> bool:
        """Whether a page has asked for news lately."""
        return time.monotonic() - self._asked < _LATELY

    # Inside.

    def _state(self) -> dict[str, Json]:
        return {
            "mode": self.mode,
            "compiled": compilations.count(),
            "order": list(self.canvases),
            "busy": self.busy,
            "is_over": self.is_over and self.busy is None,
        }

    def _changed(self) -> None:
        self.board.change()

    def _canvas(self, run: int) -> Canvas:
        if run not in self.canvases:
            raise LookupError("there is no such run")
        return self.canvases[run]

    def _refuse_unless_studio(self) -> None:
        if self.mode != "studio" or self.is_over:
            raise NstError("nothing else is begun here: nst-jax studio does that")

    def _know_given(self, name: str) -> None:
        """Take note of a picture that settings name: the page shows it like one that was dropped."""
        picture, _ = inputs.read_picture(name, self.settings.max_pixels)
        id = f"upload:{sha256(name.encode(errors='surrogateescape')).hexdigest()[:12]}"
        self._thumbnails[id] = jpeg(picture.rgb, THUMBNAIL)
        self._know(id, name)

    def _know(self, id: str, name: str) -> None:
        self._given[id], self.known_as[name] = name, id

    def _named(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Return values with pictures by the names that the page has for them."""
        found = dict(values)
        for key in controls.PICTURES:
            one = found[key] if isinstance(found[key], str) else None  # several styles have no control
            found[key] = None if one is None else self.known_as.get(one, one)
        return found

    def _settings(self, values: Mapping[str, Json]) -> Settings:
        """Return the settings that the page wants.

        Raises:
            NstError: they may not be.
        """
        found = controls.checked(values)
        for key in controls.PICTURES:
            name = found.get(key)
            if isinstance(name, str) and not name.startswith("sample:"):
                if name not in self._given:
                    raise ConfigError(f"{key}: this picture is not here any more; drop it on the page again")
                found[key] = self._given[name]
        settings = self.settings.with_values(found)
        inputs.names_of(settings)
        return settings

    def _next(self) -> int:
        """Return the number of the next file: above all that are there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            there = [int(n[1]) for path in self.folder.iterdir() if (n := re.match(r"(\d{1,6})", path.name))]
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be used: {error.strerror}") from None
        self._runs = max(self._runs, *there, 0) + 1
        return self._runs

    def _queue(self, settings: Settings) -> int:
        with self._lock:
            path = self.folder / f"{self._next():03d}.png"
            settings = settings.with_values({"output.image": str(path)})
            title = self._title(settings)
            return self._add(Canvas(self._count + 1, title, settings, self.board, self.known_as))

    def _add(self, canvas: Canvas) -> int:
        self._count = canvas.number
        self.canvases[canvas.number] = canvas
        self._changed()
        return canvas.number

    def _title(self, settings: Settings) -> str:
        return title_of(settings, self._called)

    def _take(self) -> Canvas | None:
        """Return the first run that waits, which waits no longer."""
        with self._lock:
            waiting = (canvas for canvas in self.canvases.values() if canvas.status == "waiting")
            if canvas := next(waiting, None):
                self.busy = canvas.number
                canvas.prepare()
            return canvas

    def _prepare(self) -> None:
        """Import what a run needs, while the user looks at the page."""
        compilations.begin()

        from nst_jax.transfer import batch, stylize  # noqa: F401

    def _paint(self, canvas: Canvas) -> None:
        try:
            if isinstance(canvas, Grid):
                canvas.finish(sweep.run(canvas.settings, callback=canvas.watch, say=canvas.note))
            else:
                outcome = single.run(
                    canvas.settings, say=canvas.note, download=_download(canvas), steering=canvas.steering
                )
                self._saved[outcome.output.name] = outcome.output
                canvas.end(outcome)
        except NstError as error:
            canvas.fail(str(error))
        except Exception as error:  # a bug: its traceback is for the terminal, and the studio lives on
            report_bug()
            canvas.fail(f"a fault of the program, {type(error).__name__}: the terminal has more")

    def _save(self, canvas: Canvas) -> dict[str, Json]:
        if isinstance(canvas, Grid):
            raise NstError("a grid's pictures are in its folder already")
        path = self._write(canvas, canvas.now()) if canvas.is_under_way else canvas.file
        if path is None:
            raise NstError("there is no picture to be saved yet")
        self._saved[path.name] = path
        return {"file": str(path), "url": f"/files/{path.name}"}

    def _write(self, canvas: Canvas, moment: Moment) -> Path:
        """Write a moment's picture beside the run's own, and return where."""
        output = Path(canvas.settings.output.image)
        path = output.with_name(f"{output.stem}_{moment.evaluations:06d}.png")
        canvas.steering.save(path, moment)
        return path

    def _remove(self, canvas: Canvas) -> dict[str, Json]:
        with self._lock:
            if canvas.is_under_way:
                raise NstError("this run is under way: stop it first")
            canvas.status = "removed"
            self.canvases.pop(canvas.number, None)
            canvas.preview.end()
        self._changed()
        return {}

    def _branch(self, canvas: Canvas, moment: Moment, values: Mapping[str, Json]) -> int:
        self._refuse_unless_studio()
        first = self._write(canvas, moment)
        changed = {key: value for key, value in controls.checked(values).items() if key in controls.AT_ONCE}
        return self._from(first, moment.settings.with_values(changed))

    def _more(self, canvas: Canvas, evaluations: Json) -> int:
        if not isinstance(evaluations, int) or isinstance(evaluations, bool) or evaluations < 1:
            raise ConfigError(f"evaluations: should be a whole number of at least 1, got {evaluations!r}")
        if canvas.is_under_way and not isinstance(canvas, Grid):
            canvas.more(evaluations)
            return canvas.number
        self._refuse_unless_studio()
        if canvas.file is None or isinstance(canvas, Grid):
            raise NstError("there is no picture to go on with")
        settings = canvas.steering.settings.with_values({"solver.evaluations": evaluations})
        return self._from(canvas.file, settings)

    def _from(self, picture: Path, settings: Settings) -> int:
        """Put a run into the queue that begins with a picture, at its size."""
        return self._queue(settings.with_values({"init": str(picture), "pyramid.levels": 1}))

    def _trim(self) -> None:
        """Let go of moments of the oldest runs, where all together are too large."""
        total = sum(canvas.nbytes() for canvas in self.canvases.values())
        for canvas in list(self.canvases.values()):
            if total <= MOMENTS_BYTES:
                break
            if not canvas.is_under_way:
                total -= canvas.forget_moments()


def begun_with(settings: Settings) -> Settings:
    """Return settings with what a page begins with where they say nothing: samples, and a small size."""
    given = controls.values_of(settings)
    absent = {key: value for key, value in FIRST.items() if given[key] is None}
    if settings.content.map or settings.content.weight == 0:  # a doodle, or a texture
        absent.pop("content.image", None)
    if settings.style.weight == 0:
        absent.pop("style.image", None)
    if settings.weights == "auto":
        absent["weights"] = "compact"
    return settings.with_values(absent)


def title_of(settings: Settings, called: Mapping[str, str] = {}) -> str:
    """Return what a run is called, by what people call its pictures."""

    def name(picture: str) -> str:
        return called.get(picture) or configs.picture_name(picture)

    content = settings.content.image or settings.content.map
    painted = name(content) if content else "a texture"
    names = " and ".join(map(name, inputs.styles_of(settings)))
    return f"{painted} in the style of {names}" if names else painted


def _download(canvas: Canvas) -> Callable[[int, int], None]:
    def note(done: int, total: int) -> None:
        canvas.sentence = f"fetches the network's weights: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
        canvas.changed()

    return note

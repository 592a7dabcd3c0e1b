"""A run as a page sees it: how far it is, its picture, its loss, moments on the way, and what may be done."""

import math
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import config as configs
from nst_jax import images
from nst_jax.errors import NstError
from nst_jax.runs import records
from nst_jax.runs.single import Outcome
from nst_jax.runs.steering import Moment, Steering
from nst_jax.settings import Settings
from nst_jax.studio import controls
from nst_jax.studio.board import Board
from nst_jax.studio.preview import SMALL, Preview, jpeg
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.looks import Look

UNDER_WAY = ("preparing", "running", "paused")

MOMENTS = 10
"""About so many moments of a run are kept by themselves, at equal distances."""

MOST_MOMENTS = 24
"""In the strip of a run; beyond, the oldest that nobody asked for goes."""

AUTOMATIC_BYTES = 2**24
"""Larger pictures are kept only if someone wants that."""

MOST_POINTS = 400
"""Of a loss curve; beyond, every second one goes."""

PATIENCE = 60.0
"""Seconds to wait for an answer of the run, which it gives between two steps."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A moment in the strip, and why it is there."""

    number: int
    why: str
    moment: Moment


class Canvas:
    """One run, of a picture.

    Args:
        number: of the run.
        title: what it is called.
        settings: of the run.
        board: where changes are noted.
        known_as: what the page calls pictures, by their names in settings.
    """

    kind = "picture"

    def __init__(
        self, number: int, title: str, settings: Settings, board: Board, known_as: Mapping[str, str] = {}
    ) -> None:
        self.number, self.title, self.settings = number, title, settings
        self.board, self.known_as = board, known_as
        self.steering = Steering(seen=self._seen, say=self.note)
        self.steering.settings = settings
        self.preview = Preview()
        self.status, self.sentence = "waiting", "waits for its turn"
        self.notes: list[str] = []
        self.error: str | None = None
        self.file: Path | None = None
        self.moments: list[Kept] = []
        self.version = board.version
        """Of what `described` says."""
        self.thinned = 0
        """How often every second point of the loss curve was left out."""
        self._curve: list[dict[str, Json]] = []
        self._facts: dict[str, Json] = _facts(None)
        self._given = 0
        """Moments so far, those that are gone as well."""
        self._lock = threading.RLock()
        self._encoded: dict[object, bytes] = {}
        self._told: tuple[int, dict[str, Json]] = (0, {})
        self.changed()

    # By the run.

    def changed(self) -> None:
        """Tell everyone who looks that something is new."""
        with self._lock:
            self.version = self.board.change()

    def note(self, line: str) -> None:
        """Take a note of what the user should know."""
        with self._lock:
            if line not in self.notes:
                self.notes.append(line)
        self.changed()

    def prepare(self) -> None:
        """Take note that the run begins."""
        self.status, self.sentence = "preparing", "reading pictures and compiling"
        self.changed()

    def end(self, outcome: Outcome) -> None:
        """Take note of how the run ended."""
        self.file, self.sentence, self.status = outcome.output, outcome.sentence, outcome.status
        self.preview.show(lambda: images.read(outcome.output).rgb, is_last=True)
        self._facts["left"] = None
        self.changed()

    def fail(self, error: str) -> None:
        """Take note of why there is no picture."""
        self.error, self.sentence, self.status = error, "there is no picture", "failed"
        self.preview.end()
        self.changed()

    def _seen(self, look: "Look") -> None:
        """Take note of a look. This is on the thread of the run: no more is done than must be."""
        evaluations, every = int(look.spent[0]), max(1, look.total // MOMENTS)
        with self._lock:
            is_time = evaluations // every > self._facts["evaluations"] // every
            self._facts = _facts(look)
            self.show_status()
            self._curve.append(_point(look))
            if len(self._curve) > MOST_POINTS:
                self._curve, self.thinned = self._curve[1::2], self.thinned + 1
        if self.preview.is_due or self.steering.is_paused:
            snapshot = look.snapshot()
            self.preview.show(lambda: snapshot.pictures()[0])
        if is_time and self._nbytes() <= AUTOMATIC_BYTES:
            self._keep(self.steering.moment(look), "time")
        self.changed()

    def show_status(self) -> None:
        """Take note of whether the run is paused."""
        self.status, self.sentence = "paused" if self.steering.is_paused else "running", ""

    def _nbytes(self) -> int:
        problem = self.steering.problem
        return 0 if problem is None else problem.content.nbytes

    # By the page.

    @property
    def is_under_way(self) -> bool:
        """Whether it has begun, and not ended."""
        return self.status in UNDER_WAY

    def act(self, verb: str, body: Mapping[str, Json]) -> None:
        """Do what can be done with a run under way: change, pause, go-on, stop, keep or restore.

        Raises:
            NstError: the run is not under way, or may not be changed so.
            LookupError: there is no such moment.
        """
        if not self.is_under_way:
            raise NstError(f"this run is not under way: {self.sentence}")
        if verb == "change":
            values = controls.checked(body.get("values", {}), allowed=controls.AT_ONCE)
            self.steering.at_look(self._keep_before_change)
            self.steering.change(values)
        elif verb in ("pause", "go-on"):
            self.steering.pause(verb == "pause")
            if self.status != "preparing":
                self.show_status()
        elif verb == "stop":
            self.steering.stop()
        elif verb == "keep":
            self._keep(self.now(), "kept")
        elif verb == "restore":
            moment = self.moment(body.get("moment"))
            self.steering.restore(moment)
            self.preview.show(lambda: moment.snapshot.pictures()[0])
        self.changed()

    def more(self, evaluations: int) -> None:
        """Let a run under way have more evaluations at each size."""
        known = self.steering.settings.solver.evaluations
        self.steering.change({"solver.evaluations": known + evaluations})

    def moment(self, number: Json) -> Moment:
        """Return a moment of the strip.

        Raises:
            LookupError: there is none of that number.
        """
        for kept in tuple(self.moments):
            if kept.number == number:
                return kept.moment
        raise LookupError("there is no such moment any more")

    def now(self) -> Moment:
        """Return the present moment of a run under way."""
        try:
            found: Moment = self.steering.at_look(self.steering.moment).result(PATIENCE)
        except TimeoutError:
            raise NstError("the run is busy, perhaps compiling: try again in a moment") from None
        return found

    def _keep_before_change(self, look: "Look") -> None:
        """Keep the moment before something is changed, unless there is one that is about as late."""
        last = self.moments[-1].moment.evaluations if self.moments else 0
        if int(look.spent[0]) > last + look.total // (4 * MOMENTS):
            self._keep(self.steering.moment(look), "change")

    def _keep(self, moment: Moment, why: str) -> None:
        with self._lock:
            self._given += 1
            self.moments.append(Kept(self._given, why, moment))
            while len(self.moments) > MOST_MOMENTS:
                gone = next((kept for kept in self.moments if kept.why != "kept"), self.moments[0])
                self.moments.remove(gone)
                self._encoded.pop(gone.number, None)

    def nbytes(self) -> int:
        """Return the bytes of all moments."""
        return sum(image.nbytes for kept in tuple(self.moments) for image in kept.moment.snapshot.raw)

    def forget_moments(self) -> int:
        """Let go of all moments, and return how many bytes that was."""
        with self._lock:
            freed, self.moments = self.nbytes(), []
        self.changed()
        return freed

    # For the page.

    def described(self) -> dict[str, Json]:
        """Return all that the page shows of the run, but for pictures and the curve; once for all who ask."""
        with self._lock:
            if self._told[0] != self.version:
                self._told = self.version, self._described()
            return self._told[1]

    def _described(self) -> dict[str, Json]:
        settings, values = self.steering.settings, controls.values_of(self.steering.settings)
        return self._facts | {
            "id": self.number,
            "kind": self.kind,
            "title": self.title,
            "status": self.status,
            "sentence": self.sentence,
            "size": self._size(),
            "picture": self.preview.version,
            "has_content": settings.content.image is not None,
            "values": self._named(values),
            "changes": [change.plain() for change in self.steering.changes],
            "moments": [self._moment(kept) for kept in self.moments],
            "notes": list(self.notes),
            "error": self.error,
            "file": str(self.file) if self.file else None,
            "url": f"/files/{self.file.name}" if self.file else None,
            "command": self.command(),
            "cells": [],
            "axes": [],
        }

    def points(self, begin: int) -> tuple[list[dict[str, Json]], int]:
        """Return the points of the loss curve from one on, and how many there are."""
        with self._lock:
            return self._curve[begin:], len(self._curve)

    def shown(self, what: str, number: int) -> bytes:
        """Return a JPEG: the content, the small picture, or that of a moment.

        Raises:
            LookupError: there is none.
        """
        if what == "moments":
            snapshot = self.moment(number).snapshot
            return self._once(number, lambda: jpeg(snapshot.pictures()[0], 2 * SMALL))
        problem, version = self.steering.problem, self.preview.version
        if what == "content" and problem is not None and self.settings.content.image is not None:
            content = problem.content if problem.colours is None else problem.colours
            return self._once("content", lambda: jpeg(content))
        if what == "small" and version:
            return self._once(("small", version), self.preview.small)
        raise LookupError("there is no such picture yet")

    def command(self) -> str:
        """Return a command line that repeats the run; while it is under way, one with its settings."""
        words = ["--replay", str(self.file)] if self.file else configs.to_arguments(self.steering.settings)
        return shlex.join(["nst-jax", *words])

    def _once(self, key: object, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            known = self._encoded.get(key)
        if known is None:
            known = make()
            with self._lock:
                if isinstance(key, tuple):  # an older version
                    self._encoded = {k: v for k, v in self._encoded.items() if not isinstance(k, tuple)}
                self._encoded[key] = known
        return known

    def _size(self) -> list[int] | None:
        problem = self.steering.problem
        return None if problem is None else [problem.content.shape[1], problem.content.shape[0]]

    def _named(self, values: dict[str, Json]) -> dict[str, Json]:
        """Return values with pictures by the names that the page has for them."""
        return {
            key: self.known_as.get(value, value) if key in controls.PICTURES else value
            for key, value in values.items()
        }

    def _moment(self, kept: Kept) -> dict[str, Json]:
        moment = kept.moment
        return {
            "number": kept.number,
            "evaluations": moment.evaluations,
            "loss": number(moment.loss),
            "why": kept.why,
            "values": self._named(controls.values_of(moment.settings)),
        }


def number(value: float | None) -> float | None:
    """Return a number as JSON has it: None for what is not finite."""
    return None if value is None or not math.isfinite(value) else value


def _facts(look: "Look | None") -> dict[str, Json]:
    """Return how far a run is; None: it has not begun."""
    if look is None:
        nothing = dict.fromkeys(("loss", "initial_loss", "left"))
        return {"evaluations": 0, "budget": 0, "level": 0, "levels": 0, "rate": 0.0, "seconds": 0.0} | nothing
    return {
        "evaluations": int(look.spent[0]),
        "budget": look.total,
        "level": look.level,
        "levels": look.levels,
        "loss": number(float(look.loss[0])),
        "initial_loss": number(float(look.initial_loss[0])),
        "rate": look.rate,
        "left": look.left,
        "seconds": look.seconds,
    }


def _point(look: "Look") -> dict[str, Json]:
    terms = records.by_kind({name: float(term[0]) for name, term in look.terms.items()})
    numbers = {"loss": float(look.loss[0])} | terms
    return {"e": int(look.spent[0])} | {name: number(v) for name, v in numbers.items()}

"""A run is steered while it goes on: by hand, from any thread, or by what the record of another says.

What was changed, and after how many evaluations, is in the record of what comes of it, so that a replay takes
the same path. A look at the run is due as soon as something is asked of it: what is asked acts on the next
step.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import ConfigError, NstError, SettingError
from nst_jax.runs.records import Record
from nst_jax.settings import Settings
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.checkpoints import Checkpoint
    from nst_jax.transfer.looks import Look, Snapshot, Turn
    from nst_jax.transfer.problem import Problem

LIVE = (
    "style.strength",
    "content.weight",
    "style.weight",
    "style.shares",
    "style.scale",
    "colour",
    "loss.total_variation",
    "solver.evaluations",
)
"""Settings that may be changed while a run goes on: the picture keeps its size, its network and its kind of
style. What is a weight needs no other program either."""

_OVER = "the run has ended"

_AGAIN = 0.2
"""Seconds after which a run that is paused asks once more whether it is to end."""


@dataclass(frozen=True)
class Change:
    """What was changed of a run after so many evaluations."""

    evaluations: int
    settings: dict[str, Json] = field(default_factory=dict)
    """By dotted key."""
    picture: int | None = None
    """The run went on with the picture that it had after so many evaluations."""
    stop: bool = False
    """It ended there."""

    def plain(self) -> Record:
        """Return it as a record holds it: without what it has not."""
        found = {name: value for name, value in asdict(self).items() if value not in ({}, None, False)}
        return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def recorded(record: Mapping[str, Json]) -> tuple[Change, ...]:
    """Return the changes that a record holds.

    Raises:
        ConfigError: they are none that this program writes.
    """
    try:
        found = tuple(Change(**each) for each in record.get("changes", ()))
        if all(map(_is_sound, found)) and sorted(each.evaluations for each in found) == [
            each.evaluations for each in found
        ]:
            return found
    except TypeError:
        pass
    raise ConfigError("changes: the record's are not in the form that this program writes")


def _is_sound(change: Change) -> bool:
    numbers = [change.evaluations, change.evaluations if change.picture is None else change.picture]
    whole = all(isinstance(number, int) and 1 <= number <= change.evaluations for number in numbers)
    return whole and isinstance(change.settings, dict) and set(change.settings) <= set(LIVE)


@dataclass(frozen=True, eq=False)
class Moment:
    """A picture on the way, and all that it came of."""

    evaluations: int
    loss: float
    settings: Settings
    """As they were then."""
    changes: tuple[Change, ...]
    """Until then."""
    snapshot: "Snapshot"


class Write(Protocol):
    """Writes a picture with its record."""

    def __call__(self, path: Path, *, rgb: NDArray[np.float32], record: Record) -> None:
        """Write it."""


class Steering:
    """What is asked of a run while it goes on.

    Args:
        seen: called at every look, on the thread of the run.
        say: told what could not be done.
        is_interrupted: asked while the run is paused whether someone else has ended it.
    """

    def __init__(
        self,
        seen: Callable[["Look"], object] = lambda look: None,
        say: Callable[[str], object] = lambda line: None,
        is_interrupted: Callable[[], object] = lambda: False,
    ) -> None:
        self.seen, self.say, self.is_interrupted = seen, say, is_interrupted
        self.settings = Settings()
        """As they are now."""
        self.problem: Problem | None = None
        """That they pose; None before the run has begun."""
        self.changes: list[Change] = []
        """What was changed so far."""
        self.is_paused = False
        self.is_stopped = False
        """Whether the run was to end where it is."""
        self._is_over = False
        self._asked = threading.Condition()
        self._values: dict[str, Json] = {}
        self._moment: Moment | None = None
        self._tasks: list[tuple[Callable[[Look], object], Future[Json]]] = []
        self._script: list[Change] = []
        self._pictures: dict[int, NDArray[np.float32] | None] = {}
        """Those on the way that the script goes back to, by evaluations; None: not yet made."""

    # By hand.

    def change(self, values: Mapping[str, Json]) -> None:
        """Ask for other settings, by dotted key.

        Raises:
            SettingError: one that may not be changed while a run goes on, or not be that.
        """
        with self._asked:
            for key in values:
                if key not in LIVE:
                    what = f"cannot be changed while a run goes on; these can: {', '.join(LIVE)}"
                    raise SettingError.at(key, what)
            self.settings.with_values(self._values | dict(values))
            self._values |= values
            self._asked.notify_all()

    def restore(self, moment: Moment) -> None:
        """Ask to go on with the picture and the settings of a moment."""
        with self._asked:
            self._moment = moment
            self._values = _values_of(moment.settings)
            del self._values["solver.evaluations"]
            self._asked.notify_all()

    def pause(self, paused: bool = True) -> None:
        """Ask for a pause, or its end."""
        with self._asked:
            self.is_paused = paused
            self._asked.notify_all()

    def stop(self) -> None:
        """Ask for the end."""
        with self._asked:
            self.is_stopped = True
            self._asked.notify_all()

    def at_look(self, task: Callable[["Look"], Json]) -> "Future[Json]":
        """Ask for a function to be called, on the thread of the run, with a look at it as soon as can be.

        The future fails with NstError if the run ends before that.
        """
        with self._asked:
            future: Future[Json] = Future()
            if self._is_over:
                future.set_exception(NstError(_OVER))
                return future
            self._tasks.append((task, future))
            self._asked.notify_all()
            return future

    # By the run.

    def begin(
        self,
        problem: "Problem",
        settings: Settings,
        script: Sequence[Change],
        checkpoint: "Checkpoint",
        *,
        pose: Callable[[Settings], "Problem"],
        record: Record,
        write: Write,
    ) -> "Problem":
        """Take note of the run that is steered, and return the problem that its settings pose now.

        Args:
            problem: that the run began with.
            settings: likewise.
            script: what is changed later, as a record says.
            checkpoint: what is gone on with; keeps what was changed.
            pose: returns the problem that settings pose.
            record: of the run, without what was changed.
            write: writes a picture with its record.

        Raises:
            NstError: the script changes settings to what they may not be.
        """
        self.pose, self.record, self.write, self.checkpoint = pose, record, write, checkpoint
        self.changes = [Change(**each) for each in checkpoint.notes.get("changes", ())]
        for change in self.changes:
            settings = settings.with_values(change.settings)
        self.settings, self.problem = settings, pose(settings) if self.changes else problem
        self._script = [change for change in script if change.evaluations > checkpoint.evaluations]
        for change in self._script:
            settings = settings.with_values(change.settings)
        self._pictures = {each.picture: None for each in self._script if each.picture is not None}
        return self.problem

    def so_far(self) -> Record:
        """Return the record of the run, with what was changed so far."""
        changes = [each.plain() for each in self.changes]
        return self.record | ({"changes": changes} if changes else {})

    def is_due(self, evaluations: int) -> bool:
        """Tell whether there should be a look before the next step."""
        asked = self._values or self._moment or self._tasks or self.is_paused or self.is_stopped
        scripted = self._script and self._script[0].evaluations <= evaluations
        return bool(asked or scripted or evaluations in self._pictures)

    def turn(self, look: "Look") -> "Turn | bool":
        """Do what is asked at a look: return True for the end, or with what the run goes on otherwise."""
        evaluations = int(look.spent[0])
        if evaluations in self._pictures:
            self._pictures[evaluations] = look.raw()[0]
        self.seen(look)
        if not self.waited(look):
            return True
        change, image = self._next(evaluations)
        if change.stop:
            self.is_stopped = True
            self._note(change)
            return True
        return self._turned(change, image)

    def moment(self, look: "Look") -> Moment:
        """Return what a look shows, to be kept."""
        loss, changes = float(look.loss[0]), tuple(self.changes)
        return Moment(int(look.spent[0]), loss, self.settings, changes, look.snapshot())

    def save(self, path: Path, moment: Moment) -> None:
        """Write the picture of a moment, with a record whose replay ends there.

        Raises:
            NstError: it cannot be written.
        """
        end = Change(moment.evaluations, stop=True)
        ended = {"status": "interrupted", "loss": moment.loss, "evaluations": moment.evaluations}
        changes = [each.plain() for each in (*moment.changes, end)]
        record = self.record | {"changes": changes, "result": ended}
        self.write(path, rgb=moment.snapshot.finished()[0], record=record)

    def end(self) -> None:
        """Take note of the end of the run."""
        with self._asked:
            self._is_over = True
            for _, future in self._tasks:
                future.set_exception(NstError(_OVER))
            self._tasks = []

    def waited(self, look: "Look | None" = None) -> bool:
        """Do what is to be done at a look, and wait while paused; return False if someone else ended it.

        A sweep has no look: nothing but the end of its pause can be asked of it.
        """
        while True:
            while look and self._tasks:
                task, future = self._tasks.pop(0)
                _carried_out(task, future, look)
            with self._asked:
                if look and self._tasks:
                    continue
                if not self.is_paused or self.is_stopped:
                    return True
                if self.is_interrupted():
                    return False
                self._asked.wait(_AGAIN)

    def _next(self, evaluations: int) -> tuple[Change, NDArray[np.float32] | None]:
        """Return what is to be changed now, perhaps nothing, and the picture to go on with."""
        with self._asked:
            values, moment = self._values, self._moment
            self._values, self._moment = {}, None
        is_scripted = self._script and self._script[0].evaluations <= evaluations
        change = self._script.pop(0) if is_scripted else Change(evaluations)
        image = None if change.picture is None else self._pictures[change.picture]
        change = replace(change, settings=change.settings | values, stop=change.stop or self.is_stopped)
        if moment is None:
            return change, image
        return replace(change, picture=moment.evaluations), moment.snapshot.raw[0]

    def _turned(self, change: Change, image: NDArray[np.float32] | None) -> "Turn | bool":
        from nst_jax.transfer.looks import Turn

        settings, before = self.settings.with_values(change.settings), self.settings
        if settings == before and image is None:
            return False
        try:
            problem = self.pose(settings)
        except NstError as error:  # such as a painting that is too small now; the run goes on as it was
            self.say(f"nothing was changed: {error}")
            return False
        self.settings, self.problem = settings, problem
        values, earlier = _values_of(settings), _values_of(before)
        changed = {key: value for key, value in values.items() if value != earlier[key]}
        self._note(replace(change, settings=changed))
        return Turn(problem, image)

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        self.checkpoint.notes = {"changes": [each.plain() for each in self.changes]}


def _values_of(settings: Settings) -> dict[str, Json]:
    """Return what may be changed, as it is."""
    return {key: settings.value(key) for key in LIVE}


def _carried_out(task: Callable[["Look"], Json], future: "Future[Json]", look: "Look") -> None:
    try:
        future.set_result(task(look))
    except Exception as error:  # who asked shall know, and the run shall go on
        future.set_exception(error)

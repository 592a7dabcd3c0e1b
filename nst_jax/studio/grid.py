"""A grid of pictures as a page sees it, and the small one that is painted around some settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import config as configs
from nst_jax import images
from nst_jax.errors import NstError
from nst_jax.runs import gallery, sweep
from nst_jax.settings import Settings
from nst_jax.studio import controls
from nst_jax.studio.board import Board
from nst_jax.studio.canvas import Canvas, number
from nst_jax.studio.preview import SMALL, jpeg
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.batch import GridProgress

SIZE, EVALUATIONS = 128, 50
"""Of the pictures around some settings."""

APART, TIMES = 0.2, 1.5
"""Their strengths differ by that, and the scales of their style by that factor."""


def around(settings: Settings, folder: Path) -> Settings:
    """Return settings of a sweep of three strengths and three scales of the style, around those given."""
    strength = 0.5 if settings.style.strength is None else settings.style.strength
    middle = min(max(strength, APART), 1 - APART)
    strengths = [round(middle + APART * step, 4) for step in (-1, 0, 1)]
    scales = [float(f"{settings.style.scale * TIMES**step:.3g}") for step in (-1, 0, 1)]
    axes = ({"style.strength": tuple(strengths)}, {"style.scale": tuple(scales)})
    values = {"size": SIZE, "solver.evaluations": EVALUATIONS, "output.save_every": 0, "output.film": None}
    return settings.with_values(values | {"sweep.axes": axes, "sweep.folder": str(folder)})


class Grid(Canvas):
    """One sweep; its pictures are shown as soon as they are done.

    Args:
        middle: the settings that it is around; None for a sweep that was begun on the command line.
    """

    def __init__(
        self,
        number: int,
        title: str,
        settings: Settings,
        board: Board,
        known_as: Mapping[str, str] = {},
        middle: Settings | None = None,
    ) -> None:
        self.kind = "grid" if middle else "sweep"
        self.folder = Path(settings.sweep.folder)
        self.cells, self.grid_axes = configs.cells(settings), configs.axes(settings)
        self._done: dict[int, str] = {}
        """The status of the cells that are done, by number."""
        super().__init__(number, title, settings, board, known_as)
        self.steering.settings = middle or settings

    def watch(self, progress: "GridProgress") -> bool:
        """Take note of how far the sweep is, wait while it is paused, and return whether it shall end."""
        self._find()
        with self._lock:
            loss = number(progress.best_loss)
            spent = {"evaluations": progress.evaluations, "budget": progress.budget}
            self._facts = self._facts | spent | {"loss": loss, "seconds": progress.seconds}
            rate = progress.evaluations / progress.seconds if progress.seconds else 0.0
            left = (progress.budget - progress.evaluations) / rate if rate else None
            self._facts |= {"rate": rate, "left": left}
            self.show_status()
        self.changed()
        self.steering.waited()
        return self.steering.is_stopped

    def finish(self, outcome: sweep.Outcome) -> None:
        """Take note of how the sweep ended."""
        self._find()
        self.status = "interrupted" if outcome.interrupted else "finished"
        self.sentence = f"{outcome.done} of {outcome.cells} pictures are done"
        if outcome.collection:
            self.file = self.folder / "sheet.png"
            self.preview.show(lambda: images.read(self.folder / "sheet.png").rgb, is_last=True)
        self.preview.end()
        self._facts["left"] = None
        self.changed()

    def act(self, verb: str, body: Mapping[str, Json]) -> None:
        """Do what can be done with a sweep under way: pause, go-on or stop.

        Raises:
            NstError: it is not under way, or it is something else.
        """
        if self.is_under_way and verb not in ("pause", "go-on", "stop"):
            raise NstError("a grid is painted as it was begun: it may be paused or stopped")
        super().act(verb, body)

    def _described(self) -> dict[str, Json]:
        titles = [{"title": axis.title, "labels": list(axis.labels)} for axis in self.grid_axes]
        return super()._described() | {
            "axes": titles,
            "cells": [self._cell(i) for i in range(len(self.cells))],
            "has_content": False,
        }

    def shown(self, what: str, number: int) -> bytes:
        """Return a JPEG of a cell, or the small picture.

        Raises:
            LookupError: it is not there yet.
        """
        if what != "cells":
            return super().shown(what, number)
        if number not in self._done:
            raise LookupError("this picture is not done yet")
        return self._once(number, lambda: self._read(number))

    def command(self) -> str:
        """Return a command line that paints the sweep again, or goes on with it."""
        return f"nst-jax sweep --config {self.folder / 'config.yaml'}"

    def _read(self, cell: int) -> bytes:
        return jpeg(images.read(gallery.picture_of(self.folder, self.cells[cell])).rgb, 2 * SMALL)

    def _find(self) -> None:
        """Take note of cells that are done since."""
        for cell in self.cells:
            if cell.index in self._done:
                continue
            if record := gallery.read_cell(self.folder, cell):
                self._done[cell.index] = record["result"].get("status", "finished")
                path = gallery.picture_of(self.folder, cell)
                self.preview.show(lambda path=path: images.read(path).rgb)  # type: ignore[misc]

    def show_status(self) -> None:
        """Take note of whether the sweep is paused, and of how many pictures are done."""
        super().show_status()
        self.sentence = f"{len(self._done)} of {len(self.cells)} pictures are done"

    def _cell(self, index: int) -> dict[str, Json]:
        cell = self.cells[index]
        *outer, column = cell.position
        row = 0
        for place, axis in zip(outer, self.grid_axes, strict=False):
            row = row * len(axis.labels) + place
        return {
            "index": index,
            "row": row,
            "column": column,
            "label": cell.where,
            "values": self._swept(cell.config),
            "picture": int(index in self._done),
            "status": self._done.get(index, "waiting"),
        }

    def _swept(self, settings: Settings) -> dict[str, Json]:
        """Return the values that a cell has of the settings that the page has controls for."""
        keys = {key for axis in self.settings.sweep.axes for key in axis}
        every = self._named(controls.values_of(settings))
        return {key: every[key] for key in every if key in keys}

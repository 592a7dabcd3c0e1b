"""All that is shown on the terminal. What it cannot show never costs a result, or the exit code 0.

A stream may be missing (``2>&-``), closed early (``| head``), full (``>/dev/full``) or too narrow for a name
(an encoding without its letters): what is said for information is then dropped, or written with escapes.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from nst_jax.errors import OutputError, printable

BAR = 16
BESIDE = BAR + 22
"""Columns of the bar, and with it of what stands before and after the text."""


def say(line: str) -> None:
    """Tell the user something that is not the result."""
    _show(f"nst-jax: {printable(line)}\n", sys.stderr)


def tell(line: str) -> None:
    """Tell the user in a line what has been done: the result itself is in files."""
    _show(f"{printable(line)}\n", sys.stdout)


def hand_over(text: str) -> None:
    """Write a text that is the result of a command, line by line.

    Raises:
        OutputError: it cannot be written, but for a reader that has enough (``| head``).
    """
    try:
        _write(text if text.endswith("\n") else f"{text}\n", sys.stdout)
    except BrokenPipeError:
        _silence(sys.stdout)
    except (OSError, ValueError) as error:
        _silence(sys.stdout)
        raise OutputError(
            f"standard output: cannot be written: {getattr(error, 'strerror', error)}"
        ) from None


def _show(text: str, stream: TextIO | None) -> None:
    try:
        _write(text, stream)
    except (OSError, ValueError):  # ValueError: it is closed
        _silence(stream)


def _write(text: str, stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _silence(stream: TextIO | None) -> None:
    """Let what is left of a stream go nowhere, or the interpreter would complain of it at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


def is_terminal() -> bool:
    """Tell whether what is said is read as it comes."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False


@contextlib.contextmanager
def run_progress(budget: int) -> Iterator[Callable[[Any], None]]:
    """Give a function that shows a `transfer.Progress` on the terminal; silent where there is none."""
    from nst_jax.runs.records import by_kind

    waiting = "compiling, about ten seconds the first time"
    with _bar(budget, waiting=waiting, remaining=False) as update:

        def show(progress: Any) -> None:
            sums = by_kind(progress.terms)
            parts = [  # the first that have room are shown
                f"level {progress.level}/{progress.levels}" if progress.levels > 1 else "",
                f"loss {progress.loss:.3g}",
                f"about {clock(progress.left)} left" if progress.left is not None else "",
                f"content {sums['content']:.3g}",
                f"style {sums['style']:.3g}",
                f"{progress.rate:.2g}/s" if progress.rate else "",
                f"tv {sums['total_variation']:.3g}" if sums["total_variation"] else "",
            ]
            update(progress.evaluations, _fitting(parts), progress.budget)

        yield show


def _fitting(parts: Iterable[str]) -> str:
    """Return the first parts that a line has room for, beside the bar."""
    room = shutil.get_terminal_size().columns - BESIDE
    text = ""
    for part in filter(None, parts):
        longer = f"{text}  {part}" if text else part
        if text and len(longer) > room:
            break
        text = longer
    return text


@contextlib.contextmanager
def grid_progress() -> Iterator[Callable[..., None]]:
    """Give a function that shows a `lanes.GridProgress`, perhaps with words before it, on the terminal."""
    with _bar(None, waiting="compiling, about ten seconds the first time") as update:

        def show(progress: Any, before: str = "") -> None:
            text = f"{before}cells {progress.done}/{progress.cells}  best loss {progress.best_loss:.3g}"
            update(progress.evaluations, text, progress.budget)

        yield show


@contextlib.contextmanager
def film_progress() -> Iterator[Callable[[Any], None]]:
    """Give a function that shows a `film.Progress` on the terminal; silent where there is none."""
    with _bar(None, waiting="reading the film, compiling", remaining=False) as update:

        def show(progress: Any) -> None:
            left = "" if progress.left is None else f"about {clock(progress.left)} left"
            text = f"of {progress.frames or '?'} frames  loss {progress.loss:.3g}  {left}"
            update(progress.frame, text, progress.frames)

        yield show


@contextlib.contextmanager
def batch_progress() -> Iterator[Callable[[Any], None]]:
    """Give a function that shows a `batch.Progress` on the terminal; silent where there is none."""
    with _bar(None, waiting="reading, compiling", remaining=False) as update:

        def show(progress: Any) -> None:
            parts = [f"of {progress.total} pictures"]
            parts += [] if progress.left is None else [f"about {clock(progress.left)} left"]
            parts += [f"{progress.faults} could not be painted"] * bool(progress.faults)
            update(progress.done, _fitting(parts), progress.total)

        yield show


@contextlib.contextmanager
def photos_progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many of how many photographs are done; silent where there is none."""
    with _bar(None, waiting=text) as update:
        yield lambda done, total: update(done, f"of {total}: {text}", total)


@contextlib.contextmanager
def _bar(budget: int | None, *, waiting: str, remaining: bool = True) -> Iterator[Callable[..., None]]:
    if not is_terminal():
        yield lambda *state: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.completed:.0f}/{task.total}" if budget else "{task.completed:.0f}"),
        BarColumn(bar_width=BAR),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        *((TextColumn("left"), TimeRemainingColumn()) if remaining else ()),  # it knows nothing of levels
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=budget, text=waiting)

        def update(done: int, text: str, total: int | None = None) -> None:
            bar.update(task, completed=done, text=text, total=total or budget)

        yield update


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, or with hours before."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class Download:
    """Shows a download's progress on the terminal; silent where there is none."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show how many of how many bytes are there."""
        if not is_terminal():
            return
        end = "\n" if total and done >= total else "\r"
        _show(f"VGG-19 weights: {done / 1e6:.0f} of {total / 1e6:.0f} MB{end}", sys.stderr)

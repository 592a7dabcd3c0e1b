"""What is shown on the terminal while work is done, and what Ctrl-C does."""

import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any


def say(line: str) -> None:
    """Tell the user something that is not the result."""
    print(f"nst-jax: {line}", file=sys.stderr)


@contextlib.contextmanager
def interruptible(saving: str) -> Iterator[list[int]]:
    """Give a list that is empty until Ctrl-C is pressed; a second Ctrl-C stops at once."""
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        say(f"stopping after this step and saving {saving}; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def run_progress(budget: int) -> Iterator[Callable[[Any], None]]:
    """Give a function that shows a `transfer.Progress` on the terminal; silent where there is none."""
    from nst_jax.runs.records import by_kind

    waiting = "compiling, about ten seconds the first time"
    with _bar(budget, waiting=waiting, remaining=False) as update:

        def show(progress: Any) -> None:
            sums = by_kind(progress.terms)
            text = f"loss {progress.loss:.3g}  content {sums['content']:.3g}  style {sums['style']:.3g}"
            if sums["total_variation"]:
                text += f"  tv {sums['total_variation']:.3g}"
            if progress.levels > 1:
                text = f"level {progress.level}/{progress.levels}  {text}"
            text += f"  {progress.rate:.2g}/s" if progress.rate else ""
            text += f"  about {_clock(progress.left)} left" if progress.left is not None else ""
            update(progress.evaluations, text, progress.budget)

        yield show


@contextlib.contextmanager
def grid_progress() -> Iterator[Callable[..., None]]:
    """Give a function that shows a `lanes.GridProgress`, perhaps with words before it, on the terminal."""
    with _bar(None, waiting="compiling, about ten seconds the first time") as update:

        def show(progress: Any, before: str = "") -> None:
            text = f"{before}cells {progress.done}/{progress.cells}  best loss {progress.best_loss:.3g}"
            update(progress.evaluations, text, progress.budget)

        yield show


@contextlib.contextmanager
def photos_progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many of how many photographs are done; silent where there is none."""
    with _bar(None, waiting=text) as update:
        yield lambda done, total: update(done, f"of {total}: {text}", total)


@contextlib.contextmanager
def _bar(budget: int | None, *, waiting: str, remaining: bool = True) -> Iterator[Callable[..., None]]:
    if not sys.stderr.isatty():
        yield lambda *state: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.completed:.0f}/{task.total}" if budget else "{task.completed:.0f}"),
        BarColumn(),
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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class Download:
    """Shows a download's progress on the terminal; silent where there is none."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show how many of how many bytes are there."""
        if not sys.stderr.isatty():
            return
        end = "\n" if total and done >= total else "\r"
        print(
            f"VGG-19 weights: {done / 1e6:.0f} of {total / 1e6:.0f} MB", end=end, file=sys.stderr, flush=True
        )


def prepare_process() -> None:
    """Set up the process: compiled programs are kept on disk, freed memory for the next use."""
    import os

    from nst_jax.files import cache_folder

    # JAX reads these when it is imported, which it is not yet.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "programs"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    keep_freed()


_KEEP = {-8: 1, -4: 0, -1: 2**31 - 1, -2: 2**26}
"""glibc's M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD: one heap for all, which never shrinks."""


FEW_CORES = 4
"""With more, one heap for all costs more than it saves: on 16 cores three times the time to compile."""


def accelerated() -> bool:
    """Tell whether JAX will look for a GPU or TPU, without importing it."""
    import os
    from importlib.util import find_spec

    platforms = os.environ.get("JAX_PLATFORMS", "")
    return platforms != "cpu" and any(find_spec(plugin) for plugin in ("jax_plugins", "libtpu"))


def keep_freed() -> None:
    """Have the C library keep the memory that is freed for the next use, instead of giving it back.

    A step on a CPU takes some hundred megabytes, and page by page the kernel would clear them again for every
    step: a tenth of the time. It works best before JAX starts its threads, which else have own heaps,
    and with glibc only; elsewhere nothing is done. One heap for all makes threads wait for each other while
    they compile, so it is done on few cores only, and not with a GPU, whose compiler would take minutes.
    """
    import os

    with contextlib.suppress(OSError, AttributeError, TypeError):
        if len(os.sched_getaffinity(0)) > FEW_CORES or accelerated():
            return
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _KEEP.items():
            mallopt(option, value)

"""The picture of a run in a notebook, as it grows, with its loss. Needs IPython, which notebooks have."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from jax.typing import ArrayLike

from nst_jax import images
from nst_jax.errors import NstError
from nst_jax.runs.records import Metric
from nst_jax.runs.report import loss_curve
from nst_jax.settings import Settings
from nst_jax.transfer.looks import Result
from nst_jax.transfer.pictures import Styles
from nst_jax.transfer.stylize import Progress, stylize

SHOWN = 512
"""Pixels of the longest side of the picture that is shown."""

SECONDS = 0.5
"""Between two pictures, at least."""

_DEFAULT = Settings()


def watch(
    content: ArrayLike | None, style: Styles | None, settings: Settings = _DEFAULT, **options: Any
) -> Result:
    """Paint as `stylize` does, and show the picture and its loss below the cell meanwhile.

    Interrupting the kernel ends the run, not the cell: the picture so far is the result, which shows itself
    as well.

    Args:
        content: see `stylize`.
        style: likewise.
        settings: likewise.
        options: all else that `stylize` takes.

    Returns:
        The best image, with its loss and how the run ended.

    Raises:
        NstError: as `stylize`, or there is no IPython.

    Example:
        >>> from nst_jax import samples
        >>> from nst_jax.notebook import watch
        >>> result = watch(samples.load("coffee"), samples.load("starry_swirls"), size=256)  # doctest: +SKIP
    """
    shown, callback = _display(), options.pop("callback", None) or (lambda progress: None)
    with _interruption() as is_interrupted:

        def show(progress: Progress) -> bool:
            shown(progress)
            return callback(progress) is True or is_interrupted()

        return stylize(content, style, settings, callback=show, **options)


def _display() -> Callable[[Progress], None]:
    """Return what shows a progress, in one place of the notebook."""
    try:
        from IPython.display import SVG, Image, display
    except ImportError:
        what = "a notebook's display needs IPython: pip install ipython"
        raise NstError(f"{what}; nst_jax.stylize paints without it") from None
    handles: list[Any] = []
    curve: list[Metric] = []
    latest = [-SECONDS]

    def show(progress: Progress) -> None:
        curve.append(
            {
                "evaluations": progress.evaluations,
                "loss": progress.loss,
                "terms": progress.terms,
                "seconds": progress.seconds,
            }
        )
        now = time.monotonic()
        if now - latest[0] < SECONDS and progress.evaluations < progress.budget:
            return
        latest[0] = now
        picture = images.encode("shown.png", images.bounded(progress.picture(), SHOWN))
        words = f"{progress.evaluations} of {progress.budget} evaluations"
        left = f", about {progress.left:.0f} s left" if progress.left else ""
        parts = Image(data=picture, format="png"), SVG(data=loss_curve(curve, title=words + left))
        if not handles:
            handles.extend(display(part, display_id=True) for part in parts)
        for handle, part in zip(handles, parts, strict=True):
            handle.update(part)

    return show


@contextlib.contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether the kernel was interrupted; the second time is as ever."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        asked.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)

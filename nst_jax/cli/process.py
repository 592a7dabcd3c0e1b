"""The process of a command: signals that end the work, its streams, and what JAX is told before its start."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from nst_jax.cli.terminal import say
from nst_jax.errors import ConfigError
from nst_jax.native import library
from nst_jax.transfer import machine

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that end the work: Ctrl-C, schedulers and ``timeout``, a terminal that is closed."""


class StoppedError(KeyboardInterrupt):
    """A signal ended the work at once."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__()


class Interruption:
    """Whether a signal has asked for the end of the work."""

    def __init__(self, saving: str) -> None:
        self.saving = saving
        self.number = 0
        """Of the signal; 0: none has come."""
        self.has_begun = False
        """Whether there is something to save."""

    def __bool__(self) -> bool:
        return self.number > 0

    @property
    def code(self) -> int:
        """The exit code of a process that such a signal ends."""
        return 128 + (self.number or signal.SIGINT)  # another host may have had the signal

    def watching(self, show: Callable[..., None]) -> Callable[..., bool]:
        """Return a callback of runs: it shows how far the work is, and tells whether it should end."""

        def watch(*progress: Any) -> bool:
            self.has_begun = True
            show(*progress)
            return bool(self)

        return watch

    def note(self, number: int, frame: Any) -> None:
        """Take note of a signal; a second one, or one before anything was computed, ends the work at once."""
        at_once, self.number = bool(self) or not self.has_begun, number
        if at_once:
            raise StoppedError(number)
        again = "press Ctrl-C again" if number == signal.SIGINT else "a second signal is"
        say(f"stopping after this step and saving {self.saving}; {again} to stop at once")


@contextlib.contextmanager
def interruptible(saving: str) -> Iterator[Interruption]:
    """Give an `Interruption` that knows of the signals `ENDING`; those that are ignored (nohup) stay so."""
    found = Interruption(saving)
    before = {}
    for name in ENDING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, found.note)
    ignored = sys.unraisablehook
    sys.unraisablehook = lambda lost: _once_more(lost, ignored)
    try:
        yield found
    finally:
        sys.unraisablehook = ignored
        for number, handler in before.items():
            signal.signal(number, handler)


def _once_more(lost: "sys.UnraisableHookArgs", otherwise: Callable[..., object]) -> None:
    """Let a signal come once more that came where Python drops exceptions, as while it collects garbage."""
    if isinstance(lost.exc_value, StoppedError):
        threading.Timer(0.05, os.kill, [os.getpid(), lost.exc_value.number]).start()
    else:
        otherwise(lost)


def open_streams() -> None:
    """Open what the caller has closed of the standard streams, for files would take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def prepare_process(join: Callable[[], None] = lambda: None) -> None:
    """Set up the process: compiled programs are kept on disk.

    Args:
        join: called before JAX makes its devices.
    """
    # JAX reads these when it is imported, which it is not yet.
    if trouble := machine.keep_programs():
        say(f"note: {trouble}")
    join()  # forks, which wants no threads
    if not machine.accelerated():
        library.begin()
    if asked := os.environ.get("JAX_PLATFORMS"):
        _check_platforms(asked)


def _check_platforms(asked: str) -> None:
    """Refuse kinds of device that JAX does not have here, of which it would say so in many lines, and late.

    Raises:
        ConfigError: the first of them.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # the latter, of JAX 0.10, has no words
        jax.config.update("jax_platforms", None)  # type: ignore[no-untyped-call]
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        what = f"JAX_PLATFORMS={asked}: JAX has no such device here"
        raise ConfigError(f"{what}; allowed: {there}, or to leave it out") from None

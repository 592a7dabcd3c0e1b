"""nst-jax studio, and the page of a run: served to a browser on this machine."""

import argparse
import contextlib
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax.cli.arguments import RUN, configured, is_printed, parser_for, settings_of
from nst_jax.cli.process import interruptible, prepare_process
from nst_jax.cli.terminal import say, tell
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.studio.desk import Desk

FOLDER = "studio"
"""Where its pictures go unless told otherwise."""

_FLAGS = {name: each for name, each in RUN.items() if not each[0].startswith("output.")}

_LINGER = 1.5
"""Seconds that a page has to learn of the end."""

_EXAMPLES = """\
examples:
  nst-jax studio                                         a page: drop two pictures, start, move the sliders
  nst-jax studio --config w2 --content photo.jpg         with other settings to begin with
  nst-jax studio --host 0.0.0.0                          for other machines as well: the address has a token
  nst-jax --config starry --live                         the page of a run that was begun on the command line
Ctrl-C ends it, and saves the picture that is being painted.
"""


def run(arguments: Sequence[str]) -> int:
    """Serve the studio until it is interrupted, and return the exit code."""
    parser = parser_for(
        "nst-jax studio",
        _FLAGS,
        description="Serve a page on this machine: watch pictures grow, and steer them while they do.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--output", metavar="DIR", help=f"where pictures go (default: {FOLDER})")
    add_flags(parser)
    options = vars(parser.parse_args(arguments))

    flags = settings_of(options, _FLAGS)
    config = configured(options, flags)
    if config.sweep.axes:
        raise ConfigError("sweep.axes: the studio begins with one picture; it has a grid of its own")
    if is_printed(options, config):
        return 0
    prepare_process()

    from nst_jax.studio import desk as desks

    desk = desks.Desk(desks.begun_with(config), Path(options["output"] or FOLDER))
    return _serve(desk, options)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how a page is served."""
    parser.add_argument("--host", metavar="NAME", help="an address of this machine (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="N", help="(default: one that is free)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")


@contextlib.contextmanager
def served(desk: "Desk", options: dict[str, Json]) -> Iterator[None]:
    """Serve a desk, say where, and open it in a browser; at the end the page learns of that."""
    from nst_jax.studio.server import serve

    with serve(desk, host=options["host"] or "127.0.0.1", port=_port(options["port"])) as place:
        say(f"the page is at {place.url}")
        if place.elsewhere:
            say(f"from other machines: {place.elsewhere}")
        if not options["no_browser"] and _has_screen():
            webbrowser.open(place.url)
        try:
            yield
        finally:
            desk.leave()
            until = time.monotonic() + _LINGER
            while desk.is_watched and time.monotonic() < until:
                time.sleep(0.05)


def refuse_without_live(options: dict[str, Json]) -> None:
    """Refuse flags of a page where there is none."""
    given = [name for name in ("host", "port", "no_browser") if options[name]]
    if given and not options["live"]:
        raise ConfigError(
            f"--{given[0].replace('_', '-')} is of the page that --live serves; give --live too"
        )


def _serve(desk: "Desk", options: dict[str, Json]) -> int:
    worker, was_busy = threading.Thread(target=desk.work, name="painter"), False
    quietly = contextlib.suppress(KeyboardInterrupt)  # while nothing is painted, a signal is a good end
    with interruptible("the picture") as interrupted, quietly, served(desk, options):
        try:
            tell(f"pictures go to {desk.folder}; Ctrl-C ends the studio")
            worker.start()
            while not interrupted and worker.is_alive():
                interrupted.has_begun = desk.busy is not None
                time.sleep(0.1)
        finally:
            was_busy = desk.busy is not None
            desk.close()
            if worker.ident is not None:
                worker.join()
    return interrupted.code if was_busy else 0


def _port(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isascii() or not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise ConfigError(f"--port {text}: should be a number from 0 to 65535; 0: one that is free")
    return int(text)


def _has_screen() -> bool:
    """Tell whether a browser would have a window; others would take over the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

"""--live: the page of a run or sweep that a command paints."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax.cli.process import Interruption
from nst_jax.cli.studio import served
from nst_jax.cli.terminal import say
from nst_jax.settings import Settings
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.studio.canvas import Canvas
    from nst_jax.studio.desk import Desk
    from nst_jax.studio.grid import Grid


@dataclass(frozen=True, eq=False)
class Page:
    """What a page shows, and who tells the user what."""

    canvas: "Canvas"
    say: Callable[[str], None]


@contextlib.contextmanager
def picture(config: Settings, options: dict[str, Json], interrupted: Interruption) -> Iterator[Page]:
    """Serve the page of a single run."""
    from nst_jax.runs import inputs
    from nst_jax.studio.canvas import Canvas
    from nst_jax.studio.desk import Desk, title_of

    inputs.names_of(config)  # what is missing is said before there is a page
    desk = Desk(config, Path(config.output.image).parent, "run")
    canvas = Canvas(1, title_of(config), config, desk.board, desk.known_as)
    with _shown(desk, canvas, options, interrupted) as page:
        yield page


@contextlib.contextmanager
def sweep(config: Settings, options: dict[str, Json], interrupted: Interruption) -> Iterator["Grid"]:
    """Serve the page of a sweep."""
    from nst_jax.studio.desk import Desk, title_of
    from nst_jax.studio.grid import Grid

    desk = Desk(config, Path(config.sweep.folder), "sweep")
    grid = Grid(1, title_of(config), config, desk.board, desk.known_as)
    with _shown(desk, grid, options, interrupted):
        yield grid


@contextlib.contextmanager
def _shown(
    desk: "Desk", canvas: "Canvas", options: dict[str, Json], interrupted: Interruption
) -> Iterator[Page]:
    from nst_jax.studio import compilations

    def tell(line: str) -> None:
        say(line)
        canvas.note(line)

    canvas.steering.is_interrupted = lambda: interrupted
    compilations.begin()
    desk.adopt(canvas)
    with served(desk, options):
        canvas.prepare()
        try:
            yield Page(canvas, tell)
        except Exception as error:
            canvas.fail(str(error))
            raise

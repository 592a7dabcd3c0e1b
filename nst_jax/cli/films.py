"""What the commands that paint films have in common."""

from collections.abc import Callable

from nst_jax.cli.process import interruptible, prepare_process
from nst_jax.cli.terminal import Download, film_progress, say, tell
from nst_jax.typing import Json


def painted(run: Callable[..., Json]) -> int:
    """Paint a film, or a part of one, by a function that returns a `frames.Outcome`; return the exit code."""
    with interruptible("what is done") as interrupted, film_progress() as show:
        prepare_process()
        outcome = run(callback=interrupted.watching(show), say=say, download=Download())
    if outcome.is_interrupted:
        say(f"{outcome.frames} frames are done; the same command goes on from here")
        return interrupted.code
    tell(f"{outcome.output}: {outcome.frames} frames, {outcome.seconds:.1f} s")
    return 0

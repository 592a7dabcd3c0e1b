"""The command line: arguments, progress, exit codes.

Exit codes: 0 all is done, 1 a picture stopped on a loss that is not finite, or one of a batch could not be
painted, 2 a mistake in what was given, or a place that cannot be written; 128 and the number of the signal
that ended the work. Everything slow is imported late, so that help and mistakes come at once.
"""

import signal
from collections.abc import Sequence

from nst_jax.cli import animate, batch, figures, hosts, studio, sweep, transfer, video, weights
from nst_jax.cli.terminal import hand_over, say
from nst_jax.errors import ConfigError, NstError

__all__ = ["run"]

_COMMANDS = {
    "animate": animate.run,
    "batch": batch.run,
    "figures": figures.run,
    "studio": studio.run,
    "sweep": sweep.run,
    "video": video.run,
    "weights": weights.run,
}


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        if arguments[:1] and arguments[0] in _COMMANDS:
            hosts.refuse(arguments[0], arguments)
            return _COMMANDS[arguments[0]](arguments[1:])
        if arguments == ["samples"]:
            from nst_jax import samples

            hand_over(samples.describe())
            return 0
        return transfer.run(arguments)
    except NstError as error:
        for line in str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]:
            say(line)
        return 2
    except KeyboardInterrupt as stopped:
        say("interrupted")
        return 128 + int(getattr(stopped, "number", signal.SIGINT))

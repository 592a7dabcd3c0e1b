"""Flags of commands whose work the machines of a Ray cluster may do."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from nst_jax.cli.process import prepare_process
from nst_jax.cli.terminal import Download, hand_over, say
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.runs.painting import Paint


def add_ray_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="paint on a Ray cluster (extra: ray): HOST:PORT, auto for the one that this machine is in, "
        "local for one of this machine alone (default: auto, or local if there is none)",
    )
    parser.add_argument(
        "--workers", metavar="N", help="with --ray: so many devices at most (default: all that there are)"
    )


def refuse_with_ray(options: Mapping[str, Json], *others: str) -> None:
    """Refuse flags that do not go with ``--ray``, by their names in the options, or that go with it only.

    Raises:
        ConfigError: one is given.
    """
    if options["ray"] is None:
        if options["workers"] is not None:
            raise ConfigError("--workers is of the cluster that --ray paints on; give --ray too")
        return
    for name in others:
        if options[name] not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"--ray gives out all of the work itself; leave out {flag}, or --ray")
    workers = options["workers"]
    if workers is not None and (not workers.isdecimal() or int(workers) < 1):
        raise ConfigError(f"--workers {workers}: should be the number of workers, at least 1")


def foretell(options: Mapping[str, Json], plan: Callable[..., str]) -> int:
    """Write what work would take here, or with ``--ray`` on the cluster, and return the exit code.

    Args:
        options: of the command.
        plan: says it, such as `runs.batch.plan` of its pictures.

    Raises:
        NstError: there is no such cluster, or what ``plan`` refuses.
    """
    workers, devices = _machines(options)
    prepare_process()
    hand_over(plan(workers=workers, devices=devices, say=say, download=Download()))
    return 0


def _machines(options: Mapping[str, Json]) -> tuple[int, str | None]:
    """Return how many workers there would be and on what; without ``--ray`` this machine's devices.

    Raises:
        NstError: there is no such cluster.
    """
    if options["ray"] is None:
        return 1, None

    from nst_jax.runs.ray import devices

    return devices(options["ray"], workers=_workers(options))


def _workers(options: Mapping[str, Json]) -> int | None:
    return None if options["workers"] is None else int(options["workers"])


@contextlib.contextmanager
def painter(options: Mapping[str, Json]) -> Iterator["Paint"]:
    """Give who is to paint: a Ray cluster if that was asked for, else this process.

    Raises:
        NstError: there is no such cluster.
    """
    if options["ray"] is None:
        from nst_jax.runs.painting import here

        yield here
        return

    from nst_jax.runs.ray import cluster

    with cluster(options["ray"], workers=_workers(options), say=say) as paint:
        yield paint

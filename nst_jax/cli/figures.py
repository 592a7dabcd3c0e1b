"""nst-jax figures: the papers' figures."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nst_jax.cli.arguments import RUN, Parser, add_flags, pairs, settings_of
from nst_jax.cli.cluster import add_ray_flags, foretell, painter, refuse_with_ray
from nst_jax.cli.process import interruptible, prepare_process
from nst_jax.cli.terminal import Download, grid_progress, hand_over, say, tell
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

_FLAGS = {name: RUN[name] for name in ("images", "size", "evaluations", "weights")}

_EXAMPLES = """\
examples:
  nst-jax figures                                  every figure at 128 pixels: figures/index.html
  nst-jax figures gatys2016_fig3 --size 512        one of them at the papers' size: figures-512/index.html
  nst-jax figures --images DIR --output real       with the papers' own pictures, from a folder of yours
  nst-jax figures --ray                            on the Ray cluster of this machine
  nst-jax figures --dry-run                        how long it takes; with --ray: on that cluster
  nst-jax figures --list                           what there is
Interrupted work goes on with the same command. Samples stand in for pictures that are not in DIR.
"""


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax figures`` and return the exit code."""
    parser = Parser(
        prog="nst-jax figures",
        description="Paint the figures of the papers, and a page that shows them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures (default: all)")
    add_flags(parser, _FLAGS, {"size": "128", "evaluations": "the figure's own"})
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    parser.add_argument("--output", metavar="DIR", help="(default: figures, or figures-N with --size N)")
    add_ray_flags(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what it would take of memory and time, and stop"
    )
    parser.add_argument("--list", action="store_true", help="list the figures, and stop")
    options = vars(parser.parse_args(arguments))

    from nst_jax.runs import figures

    if options["list"]:
        hand_over(figures.described())
        return 0
    flags = settings_of(options, _FLAGS)
    flags |= {key: (f"--set {key}", value) for key, value in pairs("--set", options["set"])}
    size = flags.get("size", ("", figures.SIZE))[1]
    folder = Path(options["output"] or ("figures" if size == figures.SIZE else f"figures-{size}"))
    if any(key.split(".")[0] in ("sweep", "output") for key in flags):
        raise ConfigError("--set of figures is for settings of the pictures; for the place see --output")
    refuse_with_ray(options)
    if options["dry_run"]:
        return foretell(options, partial(figures.plan, options["names"], folder, flags=flags))
    return _paint(options, folder, flags)


def _paint(options: dict[str, Json], folder: Path, flags: dict[str, tuple[str, Json]]) -> int:
    from nst_jax.runs import figures

    with interruptible("what is done") as interrupted, painter(options) as paint, grid_progress() as show:
        watch = interrupted.watching(lambda name, progress: show(progress, f"{name}  "))
        prepare_process()
        outcome = figures.run(
            options["names"],
            folder,
            flags=flags,
            paint=paint,
            callback=watch,
            say=say,
            download=Download(),
        )
    tell(f"{outcome.page}: {outcome.done} of {outcome.figures} figures, {outcome.seconds:.1f} s")
    if outcome.interrupted:
        say("the same command goes on from here")
        return interrupted.code
    return 0

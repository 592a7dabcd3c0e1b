"""nst-jax batch: many photographs."""

from collections.abc import Sequence
from functools import partial

from nst_jax.cli.arguments import RUN, SWEEP, configured, is_printed, parser_for, settings_of
from nst_jax.cli.cluster import add_ray_flags, foretell, painter, refuse_with_ray
from nst_jax.cli.process import interruptible, prepare_process
from nst_jax.cli.terminal import Download, batch_progress, say, tell
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

_NOT = ("content", "content-map", "keep-mask", "style-map", "strength-map", "regions", "output", "save-every")
_FLAGS = {name: each for name, each in RUN.items() if name not in _NOT}
_FLAGS |= {"max-parallel": SWEEP["max-parallel"]}

_EXAMPLES = """\
examples:
  nst-jax batch photos/ --style painting.jpg --output out/
  nst-jax batch photos/ more.jpg --style a.jpg --style b.jpg --output "out/{name}_{style}.jpg"
  nst-jax batch photos/ --style a.jpg --style b.jpg --mix --output out/
  nst-jax batch photos/ --style painting.jpg --output out/ --size 1024 --dry-run
  nst-jax batch photos/ --style painting.jpg --output out/ --shard auto       with others, on any machines
  nst-jax batch photos/ --style painting.jpg --output out/ --ray
Several styles are painted each by itself, unlike those of a single run; --mix mixes them.
Interrupted work goes on with the same command; pictures that are done are not painted again.
"""


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax batch`` and return the exit code."""
    parser = parser_for(
        "nst-jax batch",
        _FLAGS,
        description="Paint many photographs, each in one style, or in each of several.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("photographs", nargs="*", metavar="PATH", help="photographs, or folders of them")
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="painted",
        help="a folder, or a pattern such as out/{name}_{style}.jpg (default: painted)",
    )
    parser.add_argument("--recursive", action="store_true", help="look into folders within folders as well")
    parser.add_argument(
        "--mix", action="store_true", help="mix several styles in each picture, as a single run does"
    )
    parser.add_argument(
        "--shard", metavar="auto", help="paint whatever no other process paints, which has the same command"
    )
    add_ray_flags(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be painted and what it takes, and stop"
    )
    options = vars(parser.parse_intermixed_args(arguments))

    flags = settings_of(options, _FLAGS)
    config = configured(options, flags)
    if is_printed(options, config):
        return 0
    refuse_with_ray(options, "shard")
    if not options["photographs"]:
        what = "nst-jax batch photos/ --style painting.jpg --output out/"
        raise ConfigError(f"nothing to do: give photographs or folders of them, such as {what}")

    from nst_jax.runs import batch

    batch.check_shard(options["shard"])
    photographs = batch.photographs(options["photographs"], recursive=options["recursive"])
    if options["dry_run"]:
        about = partial(batch.plan, config, photographs, options["output"], mix=options["mix"])
        return foretell(options, about)
    return _paint(config, photographs, options)


def _paint(config: Json, photographs: Sequence[str], options: dict[str, Json]) -> int:
    from nst_jax.runs import batch

    with interruptible("what is done") as interrupted, painter(options) as paint, batch_progress() as show:
        prepare_process()
        outcome = batch.run(
            config,
            photographs,
            options["output"],
            mix=options["mix"],
            shard=options["shard"],
            paint=paint,
            callback=interrupted.watching(show),
            say=say,
            download=Download(),
        )
    for fault in outcome.faults:
        say(fault)
    counts = [f"{len(outcome.painted)} painted"]
    counts += [f"{len(outcome.elsewhere)} painted by others"] * bool(outcome.elsewhere)
    counts += [f"{len(outcome.skipped)} done already"] * bool(outcome.skipped)
    counts += [f"{len(outcome.faults)} could not be"] * bool(outcome.faults)
    tell(f"{options['output']}: {', '.join(counts)}, {outcome.seconds:.1f} s")
    if outcome.left:
        say(f"{outcome.left} are left; the same command goes on from here")
        return interrupted.code
    return 1 if outcome.faults else 0

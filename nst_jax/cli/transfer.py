"""nst-jax: one picture."""

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path

from nst_jax.cli import hosts, live, studio
from nst_jax.cli.arguments import RUN, Parser, is_printed, parser_for, settings_of
from nst_jax.cli.process import Interruption, interruptible, prepare_process
from nst_jax.cli.terminal import Download, hand_over, run_progress, say, tell
from nst_jax.errors import ConfigError
from nst_jax.transfer.hosts import is_first
from nst_jax.typing import Json

_EXAMPLES = """\
examples:
  nst-jax --config starry                                the example, on samples that come with the program
  nst-jax --content photo.jpg --style painting.jpg --output out.png
  nst-jax --config starry --content photo.jpg --set style.weight=1e4
  nst-jax --replay out.png                               repeat the run that made a picture
  nst-jax --config starry --live                         with a page to watch it and to steer it
  nst-jax --config starry --size 2048 --dry-run          what that would take of memory
  nst-jax --print-config                                 every setting with its default and meaning
  nst-jax sweep --config sweep_tradeoff                  a grid of settings: see nst-jax sweep --help
  nst-jax batch photos/ --style painting.jpg             many photographs: see nst-jax batch --help
  nst-jax studio                                         a page to watch and steer: see nst-jax studio --help
  nst-jax video film.mp4 --style painting.jpg            a film: see nst-jax video --help
  nst-jax animate photo.jpg --style a.jpg --style b.jpg  from style to style: see nst-jax animate --help
  nst-jax samples                                        the example images
  nst-jax figures                                        the papers' figures: see nst-jax figures --help
  nst-jax weights show|fetch|verify|normalise            VGG-19's weights
"""


def run(arguments: Sequence[str]) -> int:
    """Make one picture and return the exit code."""
    options = vars(_parser().parse_args(arguments))
    config, record = _settings(options)
    if options["hosts"]:
        config = config.with_values({"devices": "rows"})
    if is_printed(options, config):
        return 0
    if not arguments:
        raise ConfigError("nothing to do: give --content and --style, or try 'nst-jax --config starry'")
    if config.sweep.axes and options["config"]:
        raise ConfigError(f"{options['config']}: is a sweep: use nst-jax sweep --config {options['config']}")

    from nst_jax.runs import single as runs

    studio.refuse_without_live(options)
    join = hosts.joining(options)
    if options["dry_run"]:
        prepare_process(join)
        found = runs.plan(config, say=say, download=Download())
        if is_first():
            hand_over(found)
        return 0
    with contextlib.ExitStack() as around:
        interrupted = around.enter_context(interruptible("the picture"))
        prepare_process(join)
        if not is_first():
            watch = interrupted.watching(lambda progress: None)
            status = runs.assist(config, callback=watch, download=Download())
            return {"interrupted": interrupted.code, "not finite": 1}.get(status, 0)
        config = _freely_named(config, options)
        page = around.enter_context(live.picture(config, options, interrupted)) if options["live"] else None
        show = around.enter_context(run_progress(config.solver.evaluations))

        outcome = runs.run(
            config,
            callback=interrupted.watching(show),
            say=page.say if page else say,
            earlier=record,
            download=Download(),
            reads=_read_already(options),
            steering=page.canvas.steering if page else None,
        )
        if page:
            page.canvas.end(outcome)
    return _report(outcome, interrupted)


def _settings(options: dict[str, Json]) -> tuple[Json, dict[str, Json]]:
    """Return the settings that options stand for, and the record of the picture whose run is repeated."""
    from nst_jax import config as configs

    if options["config"] and options["replay"]:
        raise ConfigError("--config and --replay exclude each other: both are a whole set of settings")
    record: dict[str, Json] = {}
    base: dict[str, Json] = {}
    if options["replay"]:
        from nst_jax.runs.records import replayed

        base, record = replayed(options["replay"])
        picture = Path(options["replay"])
        base["output"]["image"] = str(picture.with_name(f"{picture.stem}_replay{picture.suffix}"))
    flags = settings_of(options, RUN)
    return configs.load(options["config"], base=base, flags=flags, assignments=options["set"]), record


def _parser() -> Parser:
    from importlib.metadata import version

    parser = parser_for(
        "nst-jax",
        RUN,
        description="Neural style transfer: paint a photograph in the style of a painting.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the run would take of memory, and stop"
    )
    parser.add_argument("--live", action="store_true", help="serve a page to watch the run and to steer it")
    studio.add_flags(parser)
    hosts.add_flag(parser)
    parser.add_argument("--replay", metavar="PICTURE", help="repeat the run that made a picture")
    parser.add_argument("--version", action="version", version=f"nst-jax {version('nst_jax')}")
    return parser


def _freely_named(config: Json, options: dict[str, Json]) -> Json:
    """Return settings whose picture no other run is painting, if the user has not said how it is called."""
    from nst_jax.runs.run_folder import free_name
    from nst_jax.settings import Settings

    name = config.output.image
    if options["output"] is not None or name != Settings().output.image:
        return config
    if (free := str(free_name(Path(name)))) != name:
        say(f"note: {name} is being painted by another run, so this picture is {free}")
    return config.with_values({"output.image": free})


def _read_already(options: dict[str, Json]) -> list[Path]:
    """Return the files that the settings are from."""
    from nst_jax import config as configs

    found = [Path(options["replay"])] if options["replay"] else []
    return [*found, configs.find(options["config"])] if options["config"] else found


def _report(outcome: Json, interrupted: Interruption) -> int:
    """Say what has become of a run, and return the exit code."""
    share = f", {outcome.loss / outcome.initial_loss:.1%} of the first" if outcome.initial_loss else ""
    tell(f"{outcome.output}: {outcome.sentence}, {outcome.seconds:.1f} s, loss {outcome.loss:.4g}{share}")
    if outcome.goes_on:
        say("to go on from here, give the same command again")
        return interrupted.code
    if outcome.status == "interrupted" and interrupted:
        picture = outcome.output
        more = picture.with_name(f"{picture.stem}_more{picture.suffix}")
        words = ["nst-jax", "--replay", picture, "--init", picture, "--output", more]
        say(f"to go on from here: {shlex.join(map(str, words))}")
        return interrupted.code
    return 1 if outcome.status == "not finite" else 0

"""nst-jax sweep: a grid of settings."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nst_jax.cli import live, studio
from nst_jax.cli.arguments import SWEEP, configured, is_printed, pairs, parser_for, settings_of
from nst_jax.cli.cluster import add_ray_flags, foretell, painter, refuse_with_ray
from nst_jax.cli.process import interruptible, prepare_process
from nst_jax.cli.terminal import Download, grid_progress, say, tell
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

_EXAMPLES = """\
examples:
  nst-jax sweep --config sweep_tradeoff                  the example: four ratios of content to style
  nst-jax sweep --content photo.jpg --style painting.jpg --axis "style.weight=[1e2, 1e3, 1e4]"
  nst-jax sweep --config mine.yaml --axis "seed={linspace: [0, 4, 5]}" --axis "style=[a.jpg, b.jpg]"
  nst-jax sweep --config mine.yaml --shard auto          with others at the folder, on any machines
  nst-jax sweep --config mine.yaml --shard 1/4           one of four parts, on any machine
  nst-jax sweep --collect sweep                          the sheet and the page of what is done
  nst-jax sweep --config mine.yaml --slurm 4 --slurm-option gpus_per_node=1
  nst-jax sweep --config mine.yaml --ray                 on the Ray cluster of this machine
Interrupted work goes on with the same command; cells that are done are not painted again.
"""


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax sweep`` and return the exit code."""
    parser = parser_for(
        "nst-jax sweep",
        SWEEP,
        description="Paint a grid of settings and show all pictures on one sheet and page.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="a setting to sweep, again for more; in place of the config's axes",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="paint every N-th cell only, beginning with the I-th; auto: whatever no other process paints",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the sweep would take of memory and time, and stop"
    )
    parser.add_argument("--live", action="store_true", help="serve a page to watch the sweep")
    studio.add_flags(parser)
    parser.add_argument("--collect", metavar="DIR", help="write sheet and page of a folder, and stop")
    add_ray_flags(parser)
    parser.add_argument(
        "--slurm", metavar="N", help="submit N Slurm jobs that share the sweep (extra: slurm)"
    )
    parser.add_argument(
        "--slurm-option", action="append", default=[], metavar="KEY=VALUE", help="of submitit's executor"
    )
    options = vars(parser.parse_args(arguments))
    if options["collect"] is not None:
        return _collect(options)

    flags = settings_of(options, SWEEP)
    if options["axis"]:
        flags["sweep.axes"] = ("--axis", [{key: values} for key, values in pairs("--axis", options["axis"])])
    config = configured(options, flags)
    if is_printed(options, config):
        return 0
    studio.refuse_without_live(options)
    if options["slurm_option"] and options["slurm"] is None:
        raise ConfigError("--slurm-option is of the jobs that --slurm N submits; give --slurm too")
    refuse_with_ray(options, "shard", "slurm")
    if options["dry_run"]:
        from nst_jax.runs import sweep as sweeps

        return foretell(options, lambda **how: "\n".join(sweeps.outlook(config, **how).lines))
    if options["slurm"] is not None:
        return _submit(config, options)
    return _paint(config, options)


def _paint(config: Json, options: dict[str, Json]) -> int:
    from nst_jax.runs import sweep as sweeps

    part = (1, 1) if options["shard"] is None else sweeps.parse_shard(options["shard"])
    with contextlib.ExitStack() as around:
        interrupted = around.enter_context(interruptible("what is done"))
        paint = around.enter_context(painter(options))
        prepare_process()
        page = around.enter_context(live.sweep(config, options, interrupted)) if options["live"] else None
        show = around.enter_context(grid_progress())

        showing = interrupted.watching(show)

        def watch(progress: Json) -> bool:
            is_ended = showing(progress)
            return bool(page and page.watch(progress)) or is_ended

        outcome = sweeps.run(
            config,
            shard=part,
            paint=paint,
            callback=watch,
            say=say,
            download=Download(),
        )
        if page:
            page.finish(outcome)
    if outcome.interrupted:
        say(f"{outcome.done} of {outcome.cells} cells are done; the same command goes on from here")
        return interrupted.code if interrupted else 0
    if outcome.collection is None:
        tell(f"{outcome.folder}: {outcome.done} of {outcome.cells} cells done, {outcome.seconds:.1f} s")
        say(f"when the others are done too: nst-jax sweep --collect {outcome.folder}")
        return 0
    return _told(outcome.collection, f", {outcome.seconds:.1f} s")


def _collect(options: dict[str, Json]) -> int:
    others = [name for name, given in options.items() if name != "collect" and given not in (None, False, [])]
    if others:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise ConfigError(f"--collect reads all settings from the folder; leave out {flags}")

    from nst_jax.runs.gallery import collect

    return _told(collect(Path(options["collect"])), "")


def _told(found: Json, seconds: str) -> int:
    best = f"; lowest: {found.best}" if found.best else ""
    done = found.cells - len(found.missing)
    tell(f"{found.folder}/index.html, sheet.png: {done} of {found.cells} cells{seconds}{best}")
    if found.missing:
        say(f"not done yet: cells {_listed(found.missing)}")
    if found.not_finite:
        say(f"stopped on a loss that is no finite number: cells {_listed(found.not_finite)}")
    return 1 if found.not_finite else 0


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown


def _submit(config: Json, options: dict[str, Json]) -> int:
    if options["shard"] is not None:
        raise ConfigError("--slurm submits every shard itself; leave out --shard")
    if not options["slurm"].isdecimal() or int(options["slurm"]) < 1:
        raise ConfigError(f"--slurm {options['slurm']}: should be the number of jobs, at least 1")

    from nst_jax.runs import slurm

    prepare_process()
    jobs = slurm.submit(config, int(options["slurm"]), dict(pairs("--slurm-option", options["slurm_option"])))
    folder = config.sweep.folder
    tell(f"submitted {len(jobs)} jobs: {', '.join(job.job_id for job in jobs)}")
    say(f"the last to end writes {folder}/index.html; before that: nst-jax sweep --collect {folder}")
    return 0

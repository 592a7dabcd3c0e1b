"""nst-jax video: a film, frame by frame."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nst_jax.cli.arguments import FILM, configured, is_printed, parser_for, settings_of
from nst_jax.cli.films import painted
from nst_jax.cli.process import prepare_process
from nst_jax.cli.terminal import Download, clock, hand_over, say
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

_FLAGS = {name: each for name, each in FILM.items() if each[0] != "content.image"}

_EXAMPLES = """\
examples:
  nst-jax video film.mp4 --style painting.jpg --output painted.mp4
  nst-jax video film.mp4 --style painting.jpg --output painted.mkv --codec ffv1 --size 320 --evaluations 100
  nst-jax video cat.gif --style painting.jpg --output painted.gif
  nst-jax video frames/ --style painting.jpg --rate 25 --output painted/
Interrupted work goes on with the same command. Most films need ffmpeg, and all pip install 'nst_jax[video]'.
"""


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax video`` and return the exit code."""
    parser = parser_for(
        "nst-jax video",
        _FLAGS,
        description="Paint a film: each frame goes on from the one before, moved along with what is seen.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "film",
        nargs="?",
        metavar="FILM",
        help="the film: any that ffmpeg reads, a GIF, animated WebP or APNG, or a folder of frames",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the new film: .mp4, .mov, .mkv, .webm, .gif, .webp or .png, or a folder for "
        "frames (default: FILM_painted, of FILM's kind or .mp4)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the film would take of time and memory, and stop"
    )
    options = vars(parser.parse_args(arguments))

    flags = settings_of(options, _FLAGS)
    config = configured(options, flags)
    if is_printed(options, config):
        return 0
    if not options["film"]:
        raise ConfigError("nothing to do: give a film, such as nst-jax video film.mp4 --style painting.jpg")
    source = Path(options["film"])
    if options["dry_run"]:
        return _forecast(config, source)
    return _paint(config, source, options["output"])


def _forecast(config: Json, source: Path) -> int:
    from nst_jax.runs.film import forecast

    prepare_process()
    found = forecast.forecast(config, source, say=say, download=Download())
    hand_over("\n".join(_told(found)))
    return 0


def _told(found: Json) -> list[str]:
    """Return in lines what a film takes."""
    frames = "?" if found.frames is None else found.frames
    lines = [f"film       {frames} frames of {found.width} x {found.height} pixels"]
    between = f", and {found.every - 1} that are made of it and the one before" if found.every > 1 else ""
    lines += [f"first      {found.first:>10.1f} s", f"others     {found.later:>10.1f} s each{between}"]
    if found.seconds is not None:
        lines += [f"together   {clock(found.seconds):>10}  if there is no cut, and besides compiling"]
        lines += [f"disk       {found.disk / 2**20:>10.0f} MiB at most, until the film is made of its frames"]
    return [*lines, found.memory]


def _paint(config: Json, source: Path, output: str | None) -> int:
    from nst_jax.films import opened as films
    from nst_jax.runs import film

    return painted(partial(film.run, config, source, Path(output) if output else films.beside(source)))

"""nst-jax animate: a film of one photograph, from style to style, or while a weight changes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nst_jax.cli.arguments import FILM, configured, is_printed, pairs, parser_for, settings_of
from nst_jax.cli.films import painted
from nst_jax.errors import ConfigError
from nst_jax.typing import Json

_NOT_HERE = ("content.image", "film.consistency", "film.flow", "film.passes", "film.every")
_FLAGS = {name: each for name, each in FILM.items() if each[0] not in _NOT_HERE}

_EXAMPLES = """\
examples:
  nst-jax animate photo.jpg --style a.jpg --style b.jpg --style c.jpg --output morph.mp4 --loop
  nst-jax animate photo.jpg --style a.jpg --between style.strength=0.1,0.9 --frames 96
  nst-jax animate photo.jpg --style a.jpg --between content.weight=0.01,10,0.01
Interrupted work goes on with the same command. Needs ffmpeg.
"""


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax animate`` and return the exit code."""
    parser = parser_for(
        "nst-jax animate",
        _FLAGS,
        description="Film one photograph from style to style, or while a weight changes: each frame goes on "
        "from the one before.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("photo", nargs="?", metavar="PHOTO", help="the photograph: a file, or sample:NAME")
    parser.add_argument("--output", metavar="FILE", help="the film: of any kind that nst-jax video writes")
    parser.add_argument("--frames", metavar="N", default="48", help="how many (default: 48)")
    parser.add_argument("--loop", action="store_true", help="go back to the beginning, without a seam")
    parser.add_argument(
        "--between",
        action="append",
        default=[],
        metavar="KEY=A,B",
        help="a weight and the values that it goes through, two or more, such as style.strength=0.1,0.9; "
        "without it, all of the first style, then of the second, and so on",
    )
    options = vars(parser.parse_args(arguments))

    flags = settings_of(options, _FLAGS)
    if options["photo"]:
        flags["content.image"] = ("PHOTO", options["photo"])
    config = configured(options, flags)
    if is_printed(options, config):
        return 0
    if not arguments:
        raise ConfigError(
            "nothing to do: give a photograph, such as nst-jax animate photo.jpg --style a.jpg ..."
        )
    return _paint(config, options)


def _paint(config: Json, options: dict[str, Json]) -> int:
    from nst_jax.runs import animate

    way = animate.Way(
        frames=_frames(options["frames"]),
        is_loop=options["loop"],
        between=dict(pairs("--between", map(_listed, options["between"]))),
    )
    output = Path(options["output"] or "animated.mp4")
    return painted(partial(animate.run, config, output, way))


def _listed(text: str) -> str:
    """Return KEY=A,B as a list in YAML."""
    key, equals, values = text.partition("=")
    return f"{key}{equals}[{values}]" if equals else text


def _frames(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise ConfigError(f"--frames: should be a whole number of at least 2, got {text!r}")
    return int(text)

"""nst-jax weights: what there is, download, check, normalise."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from nst_jax.cli.arguments import Parser
from nst_jax.cli.terminal import Download, hand_over, photos_progress, say, tell
from nst_jax.errors import ConfigError

_DEFAULTS = {"pool": "avg", "padding": "zero", "size": 512, "weights": "vgg19"}


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax weights`` and return the exit code."""
    parser = Parser(
        prog="nst-jax weights", description="Weights of VGG-19 and VGG-16: show, download, check, normalise."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="show|fetch|verify|normalise")
    for name, text in (
        ("show", "say which weights a run would use"),
        ("verify", "check a file layer by layer"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "file",
            nargs="?",
            default="vgg19",
            help="a weights file, or vgg19 or vgg16: the one in use (default: vgg19)",
        )
    fetch = commands.add_parser("fetch", help="download weights to the cache")
    fetch.add_argument(
        "source",
        nargs="?",
        default="keras",
        help="keras (80 MB, default) or caffe (575 MB): VGG-19; vgg16-keras (59 MB) or vgg16-caffe (553 MB)",
    )
    _add_normalise(commands)
    options = parser.parse_args(arguments)
    if options.command == "normalise":
        return _normalise(options)

    from nst_jax.pretrained import downloads, files

    if options.command == "fetch":
        path = downloads.fetch(options.source, progress=Download())
        hand_over(f"{path}\n{files.describe(path)}")
        return 0
    path = downloads.find(options.file, download=False)
    hand_over(files.describe(path) if options.command == "show" else downloads.verify(path))
    return 0


def _add_normalise(commands: "argparse._SubParsersAction[Parser]") -> None:
    text = "write the network whose filters have mean activation one over a folder of photographs"
    command = commands.add_parser("normalise", help=text, description=text, allow_abbrev=False)
    command.add_argument("--photos", required=True, type=Path, metavar="DIR", help="a folder of photographs")
    command.add_argument(
        "--pool", choices=("avg", "max"), default=_DEFAULTS["pool"], help="pooling (default: avg)"
    )
    command.add_argument(
        "--padding",
        choices=("zero", "replicate"),
        default=_DEFAULTS["padding"],
        help="what lies beyond the border (default: zero)",
    )
    command.add_argument(
        "--size",
        type=int,
        default=_DEFAULTS["size"],
        metavar="N",
        help="largest longer side of a photograph (default: 512 pixels)",
    )
    command.add_argument(
        "--weights",
        default=_DEFAULTS["weights"],
        metavar="FILE",
        help="the original network (default: the one in use)",
    )
    target = command.add_mutually_exclusive_group()
    target.add_argument(
        "--output", type=Path, metavar="FILE.h5", help="the file to write (default: normalised-POOL.h5)"
    )
    target.add_argument(
        "--means", type=Path, metavar="FILE.json", help="write or replace the means for the pooling instead"
    )


def _normalise(options: argparse.Namespace) -> int:
    from nst_jax.networks import vgg
    from nst_jax.pretrained import downloads, files, normalisation

    if options.weights == "compact":
        raise ConfigError(
            "--weights compact: brings its mean activations along; allowed: vgg19, vgg16 or a weights file"
        )
    target = options.means or options.output or Path(f"normalised-{options.pool}.h5")
    check = normalisation.check_means if options.means else normalisation.check_target
    check(target)
    with photos_progress("files read") as show:
        photos = normalisation.find_photos(options.photos, size=options.size, progress=show)
    if photos.skipped:
        say(_skipped(photos.skipped))
    params, found = normalisation.read_original(downloads.find(options.weights, progress=Download()))
    measured = {"pool": options.pool, "padding": options.padding}
    with photos_progress("photographs measured") as show:
        means = normalisation.measure(params, photos, progress=show, **measured)
    if count := normalisation.faint(means):
        total = sum(map(len, means.values()))
        say(
            f"{count} of {total} filters hardly fire on these photographs: they are scaled as if their mean "
            f"activation were {vgg.FAINT:g} of their layer's"
        )
    if options.means:
        command = _command(options)
        normalisation.write_means(target, params, means, photos, command=command, found=found, **measured)
        tell(f"{target}: means for {options.pool} pooling over {len(photos.photos)} photographs")
        return 0
    normalisation.write(target, params, means, photos, found=found, **measured)
    hand_over(f"{target}\n{files.describe(target)}")
    return 0


def _skipped(names: Sequence[str]) -> str:
    shown = [name if name.isprintable() else ascii(name) for name in names[:5]]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    count = f"{len(names)} file{'s' if len(names) > 1 else ''}"
    return f"skipped {count}, not a picture, damaged or too small: {', '.join(shown)}{more}"


def _command(options: argparse.Namespace) -> str:
    """Return the command line with bare names of files and folders: whoever repeats it has other paths."""
    given = {"photos": options.photos.resolve().name}
    given |= {name: getattr(options, name) for name in _DEFAULTS if getattr(options, name) != _DEFAULTS[name]}
    if "weights" in given:
        given["weights"] = Path(options.weights).name
    given["means"] = options.means.name
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return shlex.join(["nst-jax", "weights", "normalise", *words])

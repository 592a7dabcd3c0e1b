"""The command line: arguments, progress, exit codes.

Exit codes: 0 a picture was made, 1 it stopped on a loss that is not finite, 2 a mistake in what was given,
130 interrupted. Everything slow is imported late, so that help and mistakes come at once.
"""

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nst_jax.errors import ConfigError, NstError

_FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    # flag: (key of the config, type, help)
    "content": ("content.image", str, "the photograph: a file, or sample:NAME"),
    "style": ("style.image", str, "the painting: a file, or sample:NAME"),
    "output": ("output.image", str, "the picture to write: .png, .jpg, .webp, .tif (default: out.png)"),
    "size": ("size", int, "bound of the longer side in pixels (default: 512)"),
    "evaluations": ("solver.evaluations", int, "how often the loss is computed (default: 300)"),
    "weights": ("weights", str, "auto, vgg19, dictionary or a weights file (default: auto)"),
    "init": ("init", str, "first image: content, style, noise, a file, or {content: 0.7, noise: 0.3} "
             "(default: content)"),
    "seed": ("seed", int, "of the noise (default: 0)"),
    "content-weight": ("content.weight", float, "alpha of equation 7 (default: the convention's own)"),
    "style-weight": ("style.weight", float, "beta of equation 7 (default: the convention's own)"),
    "save-every": ("output.save_every", int, "also keep a picture every N evaluations (default: 0, none)"),
}  # fmt: skip

_EXAMPLES = """\
examples:
  nst-jax --config starry                                the example, on samples that come with the program
  nst-jax --content photo.jpg --style painting.jpg --output out.png
  nst-jax --config starry --content photo.jpg --set style.weight=1e4
  nst-jax --replay out.png                               repeat the run that made a picture
  nst-jax --print-config                                 every setting with its default and meaning
  nst-jax samples                                        the example images
  nst-jax weights show|fetch|verify [FILE]               VGG-19's weights
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        if arguments[:1] == ["weights"]:
            return _weights(arguments[1:])
        if arguments == ["samples"]:
            from nst_jax import samples

            print(samples.describe())
            return 0
        return _transfer(arguments)
    except NstError as error:
        for line in str(error).splitlines():
            print(f"nst-jax: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nst-jax: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `nst-jax --print-config | head`
        sys.stdout = None
        return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; 'nst-jax --help' lists what there is")


def _parser() -> _Parser:
    from importlib.metadata import version

    parser = _Parser(
        prog="nst-jax",
        description="Neural style transfer: paint a photograph in the style of a painting.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a YAML file, or the name of a config that comes along"
    )
    parser.add_argument("--replay", metavar="PICTURE", help="repeat the run that made a picture")
    for flag, (_, kind, text) in _FLAGS.items():
        metavar = "N" if kind is int else "X" if kind is float else "TEXT"
        parser.add_argument(f"--{flag}", metavar=metavar, help=text)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and their meaning, and stop"
    )
    parser.add_argument("--version", action="version", version=f"nst-jax {version('nst_jax')}")
    return parser


def _transfer(arguments: Sequence[str]) -> int:
    options = vars(_parser().parse_args(arguments))
    if options["config"] and options["replay"]:
        raise ConfigError("--config and --replay exclude each other: both are a whole set of settings")

    from nst_jax import config as configs

    flags = {}
    for flag, (key, kind, _) in _FLAGS.items():
        value = options[flag.replace("-", "_")]
        if value is not None:
            flags[key] = (f"--{flag}", _value(f"--{flag}", value, kind))
    record: dict[str, Any] = {}
    base: dict[str, Any] = {}
    if options["replay"]:
        from nst_jax.run import replayed

        base, record = replayed(options["replay"])
        picture = Path(options["replay"])
        base["output"]["image"] = str(picture.with_name(f"{picture.stem}_replay{picture.suffix}"))
    config = configs.load(options["config"], base=base, flags=flags, assignments=options["set"])
    if options["print_config"]:
        print(configs.to_yaml(config), end="")
        return 0
    if not arguments:
        raise ConfigError("nothing to do: give --content and --style, or try 'nst-jax --config starry'")
    return _run(config, record)


def _value(flag: str, text: str, kind: Callable[[str], Any]) -> Any:
    blend = flag == "--init" and text.lstrip().startswith("{")
    if kind is str and not blend:
        return text

    from nst_jax import config as configs

    # The same parser as in a file, so that 1e4 and 10000 mean the same everywhere.
    value, _, problems = configs.parse(text, name=flag, top=object)
    if problems:
        raise ConfigError("\n".join(problems))
    return value


def _run(config: Any, record: dict[str, Any]) -> int:
    from nst_jax import run as runs

    with _interruptible() as interrupted, _progress(config.solver.evaluations) as show:

        def watch(progress: Any) -> bool:
            show(progress)
            return bool(interrupted)

        _remember_programs()
        outcome = runs.run(config, callback=watch, say=_say, earlier=record, download=_Download())
    share = f", {outcome.loss / outcome.initial_loss:.1%} of the first" if outcome.initial_loss else ""
    print(f"{outcome.output}: {outcome.sentence}, {outcome.seconds:.1f} s, loss {outcome.loss:.4g}{share}")
    if outcome.status == "interrupted":
        picture = outcome.output
        more = picture.with_name(f"{picture.stem}_more{picture.suffix}")
        _say(f"to go on from here: nst-jax --replay {picture} --init {picture} --output {more}")
        return 130
    return 1 if outcome.status == "not finite" else 0


def _say(line: str) -> None:
    print(f"nst-jax: {line}", file=sys.stderr)


def _remember_programs() -> None:
    """Keep compiled programs on disk: a second run of the same shapes starts at once."""
    import os

    from nst_jax.files import cache_folder

    # JAX reads these when it is imported, which it is not yet.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "programs"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Give a list that is empty until Ctrl-C is pressed; a second Ctrl-C stops at once."""
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        _say("stopping after this step and saving the picture; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _progress(budget: int) -> Iterator[Callable[[Any], None]]:
    """Give a function that shows a `transfer.Progress` on the terminal; silent where there is none."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[losses]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=budget, losses="compiling, about ten seconds the first time", rate="")

        def show(progress: Any) -> None:
            sums = {"content": 0.0, "style": 0.0, "total_variation": 0.0}
            for name, value in progress.terms.items():
                sums[name.split("/")[0]] += value
            losses = f"loss {progress.loss:.3g}  content {sums['content']:.3g}  style {sums['style']:.3g}"
            if sums["total_variation"]:
                losses += f"  tv {sums['total_variation']:.3g}"
            rate = f"{progress.rate:.2g}/s" if progress.rate else ""
            bar.update(task, completed=progress.evaluations, losses=losses, rate=rate)

        yield show


class _Download:
    """Shows a download's progress on the terminal; silent where there is none."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        end = "\n" if total and done >= total else "\r"
        print(
            f"VGG-19 weights: {done / 1e6:.0f} of {total / 1e6:.0f} MB", end=end, file=sys.stderr, flush=True
        )


def _weights(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="nst-jax weights", description="VGG-19's weights: what is there, download, check.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="show|fetch|verify")
    for name, text in (
        ("show", "say which weights a run would use"),
        ("verify", "check a file layer by layer"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "file", nargs="?", default="vgg19", help="a weights file (default: the one in use)"
        )
    fetch = commands.add_parser("fetch", help="download weights to the cache")
    fetch.add_argument("source", nargs="?", default="keras", help="keras (80 MB, default) or caffe (575 MB)")
    options = parser.parse_args(arguments)

    from nst_jax import downloads, weights

    if options.command == "fetch":
        path = downloads.fetch(options.source, progress=_Download())
        print(f"{path}\n{weights.describe(path)}")
        return 0
    path = downloads.find(options.file, download=False)
    print(weights.describe(path) if options.command == "show" else downloads.verify(path))
    return 0

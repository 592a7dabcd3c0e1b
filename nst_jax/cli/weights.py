"""nst-jax weights: what there is, download, check."""

from collections.abc import Sequence

from nst_jax.cli.arguments import Parser
from nst_jax.cli.terminal import Download


def run(arguments: Sequence[str]) -> int:
    """Run ``nst-jax weights`` and return the exit code."""
    parser = Parser(prog="nst-jax weights", description="VGG-19's weights: what is there, download, check.")
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

    from nst_jax import downloads
    from nst_jax import weights as files

    if options.command == "fetch":
        path = downloads.fetch(options.source, progress=Download())
        print(f"{path}\n{files.describe(path)}")
        return 0
    path = downloads.find(options.file, download=False)
    print(files.describe(path) if options.command == "show" else downloads.verify(path))
    return 0

"""Paint small pictures by every way of the program, and print what they are to the last bit.

    NST_JAX_WEIGHTS=vgg19.h5 python tools/same_pictures.py > before.txt
    NST_JAX_WEIGHTS=vgg19.h5 python tools/same_pictures.py --against before.txt

One line a picture: its name, the SHA-256 of its float32 pixels, and its last loss. A change that should
change no picture changes no line. Numbers depend on machine and versions: compare lines of one machine only.
Everything goes through the command line, which stays the same whatever becomes of the code behind it.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PAIR = ("--content", "sample:coffee", "--style", "sample:starry_swirls")
PORTRAIT = ("--content", "sample:astronaut", "--style", "sample:chelsea")
SMALL = ("--size", "64", "--evaluations", "8")
LITTLE = ("--size", "64", "--evaluations", "6")
BUILT_IN = ("--weights", "compact")


def settings(*pairs: str) -> tuple[str, ...]:
    """Return ``--set`` arguments."""
    return tuple(word for pair in pairs for word in ("--set", pair))


PATCH = (*settings("style.kind=patch", "loss.convention=champandard2016"),)
COARSE = settings("patch.size=2", "style.layers=[conv2_1, conv3_1]", "pyramid.levels=2")
COPIES = settings("patch.rotations=[-10]", "patch.scales=[0.9]", "patch.variety=0.1", "patch.rematch=3")

RUNS: dict[str, tuple[str, ...]] = {
    "gram": (*PAIR, *SMALL),
    "gram, maximum pooling": (*PAIR, *SMALL, *settings("network.pool=max")),
    "gram, replicated borders": (*PAIR, *SMALL, *settings("network.padding=replicate")),
    "gram, direct engine": (*PAIR, *SMALL, *settings("network.engine=direct")),
    "gram, bfloat16": (*PAIR, *LITTLE, *settings("precision=bf16")),
    "gram, original network": (*PAIR, *SMALL, *settings("network.normalised=false")),
    "gram, layers with weights": (
        *PAIR,
        *LITTLE,
        *settings("style.layers={conv1_2: 0.5, relu3_1: 2}", "content.layers={conv3_2: 1, conv4_2: 3}"),
    ),
    "gram, blended start and crop": (
        *PAIR,
        *LITTLE,
        *("--init", "{content: 0.6, noise: 0.4}", "--seed", "3"),
        *settings("style.fit=aspect", "style.scale=0.8", "style.crop=[0, 0.25, 1, 1]"),
    ),
    "gram, total variation": (*PAIR, *LITTLE, *settings("loss.total_variation=1e-2")),
    "convention literal": (*PAIR, *LITTLE, *settings("loss.convention=literal")),
    "convention notebook": (*PAIR, *LITTLE, *settings("loss.convention=notebook")),
    "convention johnson": (*PAIR, *LITTLE, *settings("loss.convention=johnson")),
    "convention champandard2016": (*PAIR, *LITTLE, *settings("loss.convention=champandard2016")),
    "patch": (*PAIR, *LITTLE, *PATCH, *COARSE),
    "patch, turned, varied, held": (*PAIR, *SMALL, *PATCH, *COARSE, *COPIES),
    "doodle": ("--config", "doodle", *LITTLE, *COARSE),
    "semantic with a photograph": ("--config", "semantic", *PORTRAIT, *LITTLE, *COARSE),
    "guided Gram": (*PORTRAIT, *LITTLE, *settings("style.kind=guided_gram")),
    "guided Gram, notebook": (
        *PORTRAIT,
        *LITTLE,
        *settings("style.kind=guided_gram", "loss.convention=notebook"),
    ),
    "pyramid": (*PAIR, *LITTLE, *settings("pyramid.levels=3", "pyramid.factor=1.5")),
    "texture": (*PAIR[2:], "--size", "64x48", "--content-weight", "0", "--evaluations", "8"),
    "texture that wraps": (
        *PAIR[2:],
        *("--size", "64x48", "--content-weight", "0", "--evaluations", "8"),
        *settings("network.padding=wrap", "loss.total_variation=1e-2", "pyramid.levels=2"),
    ),
    "content reconstruction": (*PAIR[:2], *SMALL, "--style-weight", "0"),
    "style reconstruction": (*PAIR, *SMALL, "--content-weight", "0", "--init", "noise"),
    "adam": (*PAIR, *SMALL, *settings("solver.kind=adam")),
    "lbfgsb": (*PAIR, *SMALL, *settings("solver.kind=lbfgsb")),
    "line search": (*PAIR, *SMALL, *settings("solver.linesearch=zoom")),
    "memory low, in strips": (
        *PAIR,
        *("--size", "360", "--evaluations", "3"),
        *settings("memory=low", "style.layers=[conv1_1, conv2_1, conv3_1]", "content.layers=[conv3_2]"),
    ),
    "compact network": (*PAIR, *SMALL, *BUILT_IN),
    "compact network, maximum pooling": (*PAIR, *LITTLE, *BUILT_IN, *settings("network.pool=max")),
    "compact network, doodle": ("--config", "doodle", *LITTLE, *COARSE, *BUILT_IN),
}

GRID = ("--axis", "style.weight=[100, 1000]", "--axis", "seed=[1, 2]", "--init", "noise")
SWEEPS: dict[str, tuple[str, ...]] = {
    "sweep on threads": (*PAIR, *LITTLE, *GRID, *settings("sweep.lanes=threads")),
    "sweep by vmap": (*PAIR, *LITTLE, *GRID, *settings("sweep.lanes=vmap")),
    "sweep of layers": (
        *PAIR,
        *LITTLE,
        *("--axis", "style.layers.conv1_1=[0, 1]"),
        *("--axis", "content.layers=[[conv3_2], [conv4_2]]"),
    ),
    "sweep of doodles by vmap": (
        *("--config", "doodle"),
        *LITTLE,
        *COARSE,
        *("--axis", "semantic.weight=[0, 50]"),
        *settings("sweep.lanes=vmap"),
    ),
}
RESUMED = (*PAIR, "--size", "64", "--evaluations", "40", "--init", "noise", "--axis", "seed=[1, 2]")


def main() -> int:
    """Print the lines, or what differs from those of a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", metavar="FILE", help="lines to compare with: print only what differs")
    parser.add_argument("--only", metavar="TEXT", default="", help="pictures whose names hold this")
    parser.add_argument("--killed", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.killed:
        return _be_killed(options.killed)
    known = Path(options.against).read_text().splitlines() if options.against else []
    wrong = count = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, digest, loss in pictures(options.only):
            line = f"{name}\t{digest}\t{loss!r}"
            count += 1
            if not known:
                print(line, flush=True)
            elif line not in known:
                before = [other for other in known if other.startswith(f"{name}\t")]
                print(f"was  {before[0] if before else 'not there'}\nis   {line}", flush=True)
                wrong += 1
        os.chdir("/")
    if known:
        print(f"{count - wrong} pictures are the same, {wrong} are not")
    return min(wrong, 1)


def pictures(only: str) -> Iterator[tuple[str, str, float | None]]:
    """Paint everything and give the name, digest and last loss of each picture."""
    for name, arguments in RUNS.items():
        if only in name:
            yield from _run(name, [*arguments, "--output", "out.png"])
    if only in "replay":
        _painted([*RUNS["pyramid"], "--output", "first.png"])
        yield from _run("replay", ["--replay", "first.png", "--output", "again.png"])
    for name, arguments in SWEEPS.items():
        if only in name:
            yield from _sweep(name, arguments)
    for mode in ("threads", "vmap"):
        name = f"killed and resumed, {mode}"
        if only in name:
            arguments = (*RESUMED, *settings(f"sweep.lanes={mode}"))
            command = [sys.executable, os.path.abspath(__file__), "--killed", "sweep", *arguments]
            command += ["--output", _folder(name)]
            killed = subprocess.run(command, capture_output=True, check=False)
            assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
            yield from _sweep(name, arguments)


def _run(name: str, arguments: Sequence[str]) -> Iterator[tuple[str, str, float | None]]:
    for path, digest in _painted(arguments).items():
        output = Path(path)
        record = json.loads((output.parent / f"{output.stem}.run" / "result.json").read_text())
        yield name, digest, record["result"]["loss"]


def _sweep(name: str, arguments: Sequence[str]) -> Iterator[tuple[str, str, float | None]]:
    found = _painted(["sweep", *arguments, "--output", _folder(name)])
    for path, digest in sorted(found.items()):
        record = json.loads((Path(_folder(name)) / "cells" / f"{Path(path).stem}.json").read_text())
        yield f"{name} {Path(path).stem}", digest, record["result"]["loss"]


def _folder(name: str) -> str:
    return name.replace(" ", "_").replace(",", "")


def _painted(arguments: Sequence[str]) -> dict[str, str]:
    """Run the command line and return the digests of the pictures that it was given to write, by file."""
    from nst_jax import cli, images

    found: dict[str, str] = {}
    write = images.write

    def spy(path: Any, rgb: Any, **options: Any) -> None:
        name = Path(path).name
        if "text" in options:  # pictures carry a record; sheets and previews do not
            pixels = np.ascontiguousarray(rgb, np.float32)
            found["out.png" if name == "picture.png" else name] = hashlib.sha256(pixels.tobytes()).hexdigest()
        write(path, rgb, **options)

    words = io.StringIO()
    images.write = spy
    try:
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
            code = cli.run(list(arguments))
    finally:
        images.write = write
    if code:
        raise SystemExit(f"nst-jax {' '.join(arguments)}\n{words.getvalue()}")
    if "out.png" in found:
        found = {arguments[list(arguments).index("--output") + 1]: found["out.png"]}
    return found


def _be_killed(arguments: Sequence[str]) -> int:
    """Run the command line, saving states at every look, and end as by kill -9 after some of them."""
    from nst_jax import cli
    from nst_jax.transfer import checkpoints

    checkpoints.SAVE_SECONDS, checkpoints.SAVE_SHARE = 0.0, 1e9
    saved, save = [], checkpoints.save

    def once_more(*given: Any, **options: Any) -> None:
        save(*given, **options)
        saved.append(given)
        if len(saved) == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.save = once_more
    return cli.run(list(arguments))


if __name__ == "__main__":
    sys.exit(main())

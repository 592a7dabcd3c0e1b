"""What films come out like: flicker, style and brightness against frames painted by themselves, and the time.

python benchmarks/films.py photo.jpg painting.jpg [--size 320] [--frames 48] [--speed 2] [--weights compact]
    [--set film.consistency=0.1] [--overhead]

A camera goes round over the photograph by a known path, so that the true motion is known. The film is painted
as `nst-jax video` does, and some of its frames, all over it, by themselves, as pictures are. The table has

- flicker: the mean squared difference of a frame to the one before moved by the true flow, where that is
  within the frame; of frames by themselves, that of neighbours;
- style: the style's loss of the film's frames to that of the same frames by themselves, and so the whole
  loss without the temporal term;
- of each of those frames its style, and its brightness: its mean luminance less that of the same by itself;
- seconds for each frame, and the most memory that the process had resident: that of films of any length.

With ``--overhead`` the same frames are painted again, with motion known before and nothing decoded or
encoded: how much longer the film took.
"""

import argparse
import itertools
import resource
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy import ndimage

from nst_jax import config, images
from nst_jax.cli import process
from nst_jax.films import opened as films
from nst_jax.motion.masks import within
from nst_jax.motion.warp import warped
from nst_jax.runs import film, frames, inputs, records
from nst_jax.runs.film.following import following, motion_by
from nst_jax.runs.film.painter import Painter

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
SHOWN = 0.6
"""Of the photograph's shorter side, what the camera sees."""


def arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo")
    parser.add_argument("style")
    parser.add_argument("--size", type=int, default=320, help="the width of the film")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--speed", type=float, default=2.0, help="of the camera, in pixels a frame")
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--compared", type=int, default=4, help="so many pairs of frames are painted alone")
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--keep", metavar="FILE", help="where the film shall stay")
    return parser


class Camera:
    """Goes round in an ellipse, and nearer and farther."""

    def __init__(self, photo, size, speed):
        self.photo, self.size = photo, size
        self.scale = SHOWN * min(photo.shape[0] / size[0], photo.shape[1] / size[1])
        room = [(a - self.scale * b * 1.06) / 2 for a, b in zip(photo.shape, size, strict=False)]
        self.radii = np.maximum(0, np.array(room) - 2)
        self.turn = speed * self.scale / max(self.radii.max(), 1)

    def at(self, number):
        """Return the middle of what is seen, and how much of the photograph a pixel is."""
        angle = self.turn * number
        middle = np.array(self.photo.shape[:2]) / 2 + self.radii * (np.cos(angle), np.sin(angle))
        return middle, self.scale * (1 + 0.05 * np.sin(1.7 * angle))

    def places(self, number):
        """Return where in the photograph the rows and columns of a frame are."""
        middle, scale = self.at(number)
        return [m + scale * (np.arange(n) - (n - 1) / 2) for m, n in zip(middle, self.size, strict=True)]

    def frame(self, number):
        """Return what is seen, in 8 bits."""
        grid = np.meshgrid(*self.places(number), indexing="ij")
        channels = [
            ndimage.map_coordinates(self.photo[:, :, i], grid, order=1, mode="nearest") for i in range(3)
        ]
        return np.rint(np.clip(np.stack(channels, -1), 0, 1) * 255).astype(np.uint8)

    def flow(self, number):
        """Return where each pixel of a frame was in the one before."""
        (middle, scale), here = self.at(number - 1), self.places(number)
        before = [(p - m) / scale + (n - 1) / 2 for p, m, n in zip(here, middle, self.size, strict=True)]
        rows, columns = (b - np.arange(n) for b, n in zip(before, self.size, strict=True))
        return np.stack(np.broadcast_arrays(rows[:, None], columns[None]), -1).astype(np.float32)


def flicker(before, after, flow):
    """Return the mean squared difference to what was there, moved."""
    return float(np.mean(np.square(warped(before, flow) - after)[within(flow)]))


def main():
    """Print the table."""
    options = arguments().parse_args()
    process.prepare_process()
    photo = images.read(options.photo).rgb
    base = {"style": {"image": options.style}, "weights": options.weights, "size": options.size}
    settings = config.load(base=base | {"film": {"codec": "ffv1"}}, assignments=options.set)
    camera = Camera(photo, (round(options.size * 9 / 16 / 2) * 2, options.size), options.speed)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "clip.mkv"), Path(options.keep or Path(folder, "film.mkv"))
        with films.writing(source, camera.size, Fraction(25), codec="ffv1") as write:
            for number in range(options.frames):
                write(camera.frame(number))
        begun, clock = time.perf_counter(), []
        outcome = film.run(settings, source, output, say=print, callback=lambda p: clock.append(p.seconds))
        whole = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        painted = [f.astype(np.float32) / 255 for f in films.frames(films.opened(output))]
        lines = frames.notes(frames.folder_of(output))
    print(f"{outcome.frames} frames, {np.diff(clock).mean():.2f} s for each after the first, {whole:.0f} s")
    print(f"memory       {peak:.0f} MiB at most")
    if options.compared:
        compare(options, settings, camera, painted, {line["frame"]: line for line in lines})
    if options.overhead:
        alone = again(settings, camera, options.frames)
        print(f"overhead of motion and coding: {np.diff(clock).sum() / alone - 1:.1%} of {alone:.1f} s")


def compare(options, settings, camera, painted, lines):
    """Print how the film is against frames painted by themselves."""
    painter = Painter(settings, inputs.network(settings, None, say=print))
    firsts = np.linspace(1, options.frames - 2, options.compared).round().astype(int)
    rows = []
    for first in firsts:
        pair = [painter.painted(camera.frame(n).astype(np.float32) / 255) for n in (first, first + 1)]
        for number, alone in zip((first, first + 1), pair, strict=True):
            line = lines[number + 1]
            if "terms" in line:
                style = line["terms"]["style"] / records.by_kind(alone.terms)["style"]
                total = (line["loss"] - line["terms"].get("temporal", 0)) / alone.loss
                bright = float(((painted[number] - alone.image) @ LUMA).mean())
                spread = float(painted[number].std() / alone.image.std())
                rows.append((number, style, total, bright, spread))
        rows.append((first, flicker(pair[0].image, pair[1].image, camera.flow(first + 1))))
    free = np.mean([row[1] for row in rows if len(row) == 2])
    own = np.mean([flicker(a, b, camera.flow(n)) for n, (a, b) in enumerate(itertools.pairwise(painted), 1)])
    found = [row for row in rows if len(row) > 2]
    print(f"flicker      {own:.5f}, by themselves {free:.5f}: {own / free:.3f}")
    for name, column in (("style", 1), ("loss", 2), ("contrast", 4)):
        print(f"{name:12s} {np.mean([row[column] for row in found]):.3f} times that of frames by themselves")
    for number, style, _, bright, _ in found:
        print(f"frame {number + 1:<6d} style {style:.3f}, brightness {bright:+.4f}")


def again(settings, camera, count):
    """Return the seconds that frames after the first take without anything else."""
    contents = [(n + 1, camera.frame(n).astype(np.float32) / 255) for n in range(count)]
    moved = list(following(contents, motion_by(settings.film.flow), steps=settings.film.back))
    painter = Painter(settings, inputs.network(settings, None, say=print))
    found, begun = {}, 0.0
    for frame in moved:
        past = [(warped(found[tie.number], tie.flow), tie.trust) for tie in frame.ties]
        found[frame.number] = painter.painted(frame.content, past).image
        begun = begun or time.perf_counter()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()

"""Prints how far optical flow is from known motion, and what it takes of time.

python benchmarks/flow.py [--size 320] [--pictures astronaut coffee rocket]

Frames are cut from larger pictures along a known motion, by cubic splines, and rounded to eight bits; the
second is 16 x 9. An error is the mean distance in pixels of that size between the flow found and the true one
(endpoint error) where the earlier frame shows what is there. Seconds are of one flow, on all cores that the
libraries use: set OMP_NUM_THREADS=1 for one. Rows of OpenCV need it to be installed.
"""

import argparse
import time
from importlib.util import find_spec

import numpy as np
from scipy import ndimage

from nst_jax import images, samples
from nst_jax.motion import flow as motion

MARGIN = 40
"""Pixels around a frame that motion may reach."""

TURN, ZOOM = np.radians(3), 1.05


def motions(height, width):
    """Return backward flows by name, each (height, width, 2)."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    away = np.stack([rows - (height - 1) / 2, columns - (width - 1) / 2], -1)
    turn = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
    shift = lambda down, right: np.zeros_like(away) + np.array([down, right])
    return {
        "2.9 pixels": shift(1.3, -2.6),
        "17 pixels": shift(6.4, -15.7),
        "turn 3 degrees": away @ turn.T - away,
        "zoom 1.05": away / ZOOM - away,
        "a disc": shift(0.5, 1.5),
        "15 % brighter": shift(1.3, -2.6),
        "noise 0.02": shift(1.3, -2.6),
    }


def view(picture, rows, columns):
    """Return colours at places of a larger picture."""
    channels = [
        ndimage.map_coordinates(each, (rows, columns), order=3) for each in np.moveaxis(picture, -1, 0)
    ]
    return np.clip(np.stack(channels, -1), 0, 1)


def scene(name, kind, longest):
    """Return two frames, the true backward flow, and where the earlier frame shows what is there."""
    height, width = longest * 9 // 16, longest
    picture = samples.load(name)
    scale = max((height + 2 * MARGIN) / picture.shape[0], (width + 2 * MARGIN) / picture.shape[1])
    picture = images.resize(picture, tuple(int(np.ceil(side * scale)) for side in picture.shape[:2]))
    top, left = ((picture.shape[axis] - side) // 2 for axis, side in enumerate((height, width)))
    true = motions(height, width)[kind]
    rows, columns = np.mgrid[:height, :width].astype(float)
    from_rows, from_columns = rows + true[..., 0], columns + true[..., 1]
    before = view(picture, rows + top, columns + left)
    after = view(picture, from_rows + top, from_columns + left)
    seen = (from_rows >= 0) & (from_rows <= height - 1) & (from_columns >= 0) & (from_columns <= width - 1)
    random = np.random.default_rng(0)
    if kind == "a disc":
        thing = images.resize(samples.load("chelsea"), (height, width))
        down, right = 3.2, -5.1
        inside = lambda y, x: (y - height / 2) ** 2 + (x - width * 0.45) ** 2 < (height / 4) ** 2
        now = inside(rows + down, columns + right)
        seen &= now | ~inside(from_rows, from_columns)
        before = np.where(inside(rows, columns)[..., None], thing, before)
        after = np.where(now[..., None], view(thing, rows + down, columns + right), after)
        true = np.where(now[..., None], (down, right), true)
    if kind == "15 % brighter":
        after = after * 1.15
    if kind == "noise 0.02":
        before, after = (each + random.normal(0, 0.02, each.shape) for each in (before, after))
    rounded = [np.float32(np.round(np.clip(each, 0, 1) * 255) / 255) for each in (before, after)]
    return *rounded, true, seen


def variants():
    """Return arguments of the flow, and changes of scikit-image's, by name."""
    found = {
        "tvl1 at 320": ({}, {}),
        "tvl1 at 240": ({"longest": 240}, {}),
        "tvl1 at 160": ({"longest": 160}, {}),
        "attachment 15": ({}, {"attachment": 15.0}),
        "attachment 60": ({}, {"attachment": 60.0}),
        "3 warps": ({}, {"num_warp": 3}),
        "10 warps": ({}, {"num_warp": 10}),
        "5 iterations": ({}, {"num_iter": 5}),
    }
    if find_spec("cv2"):
        found |= {f"dis at {size}": ({"longest": size, "method": "dis"}, {}) for size in (320, 160)}
    return found


def main():
    """Print a row for each variant."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=320, help="pixels of the frames' longer side")
    parser.add_argument("--pictures", nargs="+", default=["astronaut", "coffee", "rocket"])
    options = parser.parse_args()
    kinds = list(motions(9, 16))
    scenes = {kind: [scene(name, kind, options.size) for name in options.pictures] for kind in kinds}
    motion.flow(*scenes[kinds[0]][0][:2])  # imports what it needs
    own = dict(motion.TVL1)
    print(f"| flow | {' | '.join(kinds)} | mean | seconds |")
    print("| --- " * (len(kinds) + 3) + "|")
    for name, (arguments, changes) in variants().items():
        motion.TVL1.update(own | changes)
        errors, times = [], []
        for kind in kinds:
            found = []
            for before, after, true, seen in scenes[kind]:
                begun = time.perf_counter()
                flow = motion.flow(before, after, **arguments)
                times.append(time.perf_counter() - begun)
                found.append(np.linalg.norm(flow - true, axis=-1)[seen].mean())
            errors.append(np.mean(found))
        cells = " | ".join(f"{error:.2f}" for error in [*errors, np.mean(errors)])
        print(f"| {name} | {cells} | {np.median(times):.3f} |", flush=True)


if __name__ == "__main__":
    main()

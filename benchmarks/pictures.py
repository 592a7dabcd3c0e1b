"""Paints the same pairs with each of several settings, and judges the pictures.

python benchmarks/pictures.py --out DIR --runs default "three:pyramid.levels=3,solver.evaluations=100"
python benchmarks/pictures.py --out DIR --size 256 --pairs PHOTO PAINTING PHOTO PAINTING --runs own=FILE.yaml
python benchmarks/pictures.py --out DIR --pairs @pairs.txt --runs --peer other "DIR/{content}_{style}.png"

A run is NAME, NAME=FILE.yaml, NAME:key=value,key=value or NAME=FILE.yaml:key=value, over the default
settings. What DIR has of the same pair, run, settings and size is kept; --judge-only paints nothing. --peer
judges what another program painted of these pairs; PICTURE.json beside PICTURE.png may tell its "seconds" and
"mib". "DIR/{content}.jpg" as a peer is the photograph, "DIR/{style}.jpg" the painting. @FILE stands for its
lines, an argument each. Without pairs, samples that come along are painted. Nine that are unlike each other,
of four photographs and four paintings:

tuebingen_neckarfront  starry_night, the_scream, shipwreck    many small things
lion                   renoir, the_scream                     a face, fur, no colours
in58                   starry_night, shipwreck                a meadow under a bare sky
in00                   renoir, the_scream                     a glass pyramid of thin straight lines

The judge is VGG-19 as it was published, not normalised, with average pooling; it needs the weights, in
$NST_JAX_WEIGHTS or in the cache. What it compares is computed here, in double precision. The painting has the
size that --fit gives it (content: the photograph's). Style is the mean of d(picture) / d(photograph) over
conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1: the photograph is 1, the painting 0. d is, of their features:

gram      the squared distance of the Gram matrices
w2        the squared Wasserstein distance of normal distributions with the same means and covariances
sliced    the mean squared Wasserstein distance of the projections to 128 random directions
nn        the mean of 1 - cosine to the painting's nearest position, both less the painting's mean

content   mean squared difference to the photograph's conv4_2, over the variance of that
selfsim   mean change of the cosine distances among positions of conv4_1, relative to each position's mean
noise     energy of the luminance above a quarter of the sampling rate, over the painting's
chroma    energy of the two colour channels above an eighth of the sampling rate, over the painting's
seconds   of optimisation, without compiling; mib: the most memory that the process had, in MiB

Means of noise and chroma are geometric.
"""

import argparse
import hashlib
import html
import itertools
import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import scipy

from nst_jax import Settings, config, images, load_network, stylize
from nst_jax.cli import process
from nst_jax.errors import NstError, SettingError
from nst_jax.networks import vgg
from nst_jax.runs import inputs
from nst_jax.settings import as_dict, from_dict
from nst_jax.transfer.pictures import Pictures, cropped, style_at

SAMPLES = {
    "coffee": ["starry_swirls", "stained_glass", "burning_sky"],
    "chelsea": ["riverside", "burning_sky"],
    "astronaut": ["starry_swirls", "stained_glass"],
    "rocket": ["riverside", "starry_swirls"],
}
LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
STYLE = ("gram", "w2", "sliced", "nn")
COLUMNS = (*STYLE, "content", "selfsim", "noise", "chroma", "seconds", "mib")


@dataclass(frozen=True)
class Pair:
    """A photograph and a painting, by their files or as sample:NAME."""

    photograph: str
    painting: str

    @property
    def names(self):
        """Return both names, without folder and suffix."""
        return {"content": label(self.photograph), "style": label(self.painting)}

    def __str__(self):
        """Return both as one."""
        return "{content} × {style}".format(**self.names)

    def shown(self, size):
        """Return the photograph at the size that it is painted at."""
        return images.bounded(read(self.photograph), size)

    def file(self, options, run):
        """Return where the picture of a run is kept."""
        return options.out / "{}_{content}_{style}_{}.png".format(options.size, run, **self.names)


def label(name):
    """Return an image's name without folder and suffix."""
    return Path(name.removeprefix("sample:")).stem


def read(name):
    """Return an image by its file or as sample:NAME."""
    return inputs.read_picture(name, images.MAX_PIXELS)[0].rgb


def positions(F, most):
    """Return at most so many positions' features, drawn with a fixed seed."""
    if len(F) <= most:
        return F
    return F[np.sort(np.random.default_rng(0).choice(len(F), most, replace=False))]


def gram(F, P):
    """Return the squared distance of the Gram matrices per position."""
    return np.sum((F.T @ F / len(F) - P.T @ P / len(P)) ** 2)


def w2(F, P):
    """Return the squared Wasserstein distance of the normal distributions that have these moments."""

    def root(X):
        """Return an R, of as few rows as can be, such that R'R is the covariance."""
        X = (X - X.mean(0)) / np.sqrt(len(X))
        return np.linalg.qr(X, mode="r") if len(X) > X.shape[1] else X

    A, B = root(F), root(P)
    # The trace of the root of A'A B'B is the sum of the singular values of A B'.
    shared = scipy.linalg.svdvals(A @ B.T).sum()
    return np.sum((F.mean(0) - P.mean(0)) ** 2) + np.sum(A**2) + np.sum(B**2) - 2 * shared


def sliced(F, P, directions=128, most=4096):
    """Return the mean squared Wasserstein distance of projections to random directions."""
    axes = np.random.default_rng(1).normal(size=(F.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    F, P = (np.sort(positions(X, most) @ axes, axis=0) for X in (F, P))
    if len(F) != len(P):
        shares = (np.arange(max(len(F), len(P))) + 0.5) / max(len(F), len(P))
        F, P = (np.quantile(X, shares, axis=0, method="hazen") for X in (F, P))
    return np.mean((F - P) ** 2)


def unit(X):
    """Return vectors of length 1, or 0."""
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


def nn(F, P, most=2048):
    """Return the mean of 1 - cosine to the nearest position of P, both less the mean of P."""
    mean = P.mean(0)
    F, P = (unit(positions(X, most) - mean) for X in (F, P))
    return np.mean(1 - np.max(F @ P.T, axis=1))


def selfsim(F, P, most=1024):
    """Return how much the cosine distances among positions differ, as in STROTSS (Kolkin et al. 2019)."""

    def distances(X):
        X = unit(positions(X, most))
        D = np.maximum(1 - X @ X.T, 0)
        return D / np.maximum(D.sum(0), 1e-12)

    D = distances(F)
    return np.mean(np.abs(D - distances(P))) * len(D)


def fine(channel, above):
    """Return the energy per pixel of what is above a share of the sampling rate, mirrored at the borders."""
    height, width = channel.shape
    rates = np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width))
    waves = scipy.fft.dctn(channel, norm="ortho")
    return np.sum(waves[rates > above] ** 2) / channel.size


def fine_energies(rgb):
    """Return the energy of noise and of chroma of an image."""
    rgb = np.asarray(rgb, np.float64)
    luminance = rgb @ [0.299, 0.587, 0.114]
    blue, red = (rgb[..., 2] - luminance) / 1.772, (rgb[..., 0] - luminance) / 1.402
    return {"noise": fine(luminance, 1 / 4), "chroma": fine(blue, 1 / 8) + fine(red, 1 / 8)}


class Judge:
    """VGG-19's eyes for one pair."""

    def __init__(self, photograph, painting, params):
        self.params = params
        self.photograph, self.painting = self.seen(photograph), self.seen(painting)
        self.fine = fine_energies(painting)
        self.start = self.style(self.photograph)

    def seen(self, picture):
        """Return features by layer, ``(positions, channels)``, in double precision."""
        with jax.default_matmul_precision("highest"):
            found = vgg.features(self.params, vgg.to_input(picture), layers=(*LAYERS, "conv4_2"), pool="avg")
        return {name: np.asarray(F, np.float64).reshape(-1, F.shape[-1]) for name, F in found.items()}

    def style(self, F):
        """Return each distance to the painting, layer by layer."""
        distances = {"gram": gram, "w2": w2, "sliced": sliced, "nn": nn}
        return {
            each: np.array([distance(F[name], self.painting[name]) for name in LAYERS])
            for each, distance in distances.items()
        }

    def __call__(self, picture):
        """Return what the table says of a picture."""
        F, photograph = self.seen(picture), self.photograph["conv4_2"]
        found = {name: np.mean(d / self.start[name]) for name, d in self.style(F).items()}
        error, variance = np.mean((F["conv4_2"] - photograph) ** 2), np.mean(photograph.var(0))
        found |= {"content": error / variance, "selfsim": selfsim(F["conv4_1"], self.photograph["conv4_1"])}
        found |= {name: energy / self.fine[name] for name, energy in fine_energies(picture).items()}
        return {name: float(value) for name, value in found.items()}


def paint(pair, values, size, file):
    """Paint a pair; called in a process of its own, so that its memory can be told."""
    settings = from_dict(values)
    result = stylize(pair.shown(size), read(pair.painting), settings, size=size)
    images.write(file, result.image)
    status = Path("/proc/self/status")
    most = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return {
        "seconds": result.seconds,
        "mib": int(most[1]) / 1024 if most else None,
        "evaluations": result.evaluations,
        "status": result.status,
    }


def in_new_process(function, *args):
    """Return what a function returns when called in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def parsed_run(text):
    """Return the name and the settings of a run as it is written on the command line."""
    parts = re.fullmatch(r"(?P<name>[\w.-]+)(=(?P<file>[^:]+))?(:(?P<values>.*))?", text)
    if not parts:
        raise NstError(f"--runs {text}: should be NAME, NAME=FILE.yaml or NAME:key=value,key=value")
    values = re.split(r",(?=[\w.]+=)", parts["values"]) if parts["values"] else []
    return parts["name"], config.load(parts["file"], assignments=values)


def is_made_with(record, settings):
    """Tell whether a record is of these settings; what it does not name yet had its default."""
    try:
        return from_dict(record["settings"]) == settings
    except (SettingError, KeyError):
        return False


def painted(pair, run, settings, record, options):
    """Return the record of a run on a pair, painted if that is missing; None: it is not to be painted."""
    file = pair.file(options, run)
    if file.exists() and is_made_with(record, settings):
        return record
    if options.judge_only:
        return None
    values = as_dict(settings)
    return {"settings": values} | in_new_process(paint, pair, values, options.size, file)


def fetched(pair, run, pattern, record, options):
    """Return the record of a peer's picture, copied at the photograph's size; None: there is none."""
    source = Path(pattern.format(**pair.names))
    if not source.exists():
        return None
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if record.get("digest") != digest or not pair.file(options, run).exists():
        size = pair.shown(options.size).shape[:2]
        images.write(pair.file(options, run), images.resize(read(str(source)), size))
        record = {"digest": digest}
    aside = source.with_suffix(".json")
    return record | (json.loads(aside.read_text()) if aside.exists() else {})


def judged(pair, found, params, options):
    """Add to each record of a pair what the judge says of its picture, where that is missing."""
    missing = [
        run for run, each in found.items() if options.judge_only or options.fit not in each.get("judged", {})
    ]
    if not missing:
        return
    photograph = pair.shown(options.size)
    given, settings = read(pair.painting), Settings().with_values({"style.fit": options.fit})
    painting = style_at(Pictures(photograph, given), cropped(given, settings), photograph, settings)
    images.write(pair.file(options, "photograph"), photograph)
    images.write(pair.file(options, "painting"), painting)
    judge = Judge(photograph, painting, params)
    for run in missing:
        picture = images.read(pair.file(options, run)).rgb
        found[run].setdefault("judged", {})[options.fit] = judge(picture)


def row(record, fit):
    """Return a record's numbers by column."""
    return record["judged"][fit] | {name: record.get(name) for name in ("seconds", "mib")}


def mean(rows, column):
    """Return the mean of a column, None if it has gaps."""
    values = [each[column] for each in rows]
    if None in values:
        return None
    return float(
        np.exp(np.mean(np.log(np.maximum(values, 1e-12))))
        if column in ("noise", "chroma")
        else np.mean(values)
    )


def written(value, column):
    """Return a number as it is shown."""
    return "" if value is None else f"{value:.{0 if column == 'mib' else 1 if column == 'seconds' else 3}f}"


def table(rows, head):
    """Return a table of rows by their names as Markdown."""
    lines = [[head, *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    lines += [[name, *(written(each[column], column) for column in COLUMNS)] for name, each in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def means(found, runs):
    """Return the mean of each run over the pairs that all of them have."""
    common = [each for each in found.values() if all(run in each for run in runs)]
    return len(common), {run: {c: mean([each[run] for each in common], c) for c in COLUMNS} for run in runs}


def page(found, runs, options):
    """Return the pictures as a page: a row for each pair, a column for each run."""
    columns = dict.fromkeys(("photograph", "painting", *runs))
    lines = [
        '<!doctype html><meta charset="utf-8"><title>Pictures</title><style>body{font:13px sans-serif}'
        "td,th{vertical-align:top;text-align:left;padding:4px}pre{margin:2px}</style><table><tr><th>",
        *(f"<th>{html.escape(run)}" for run in columns),
    ]
    for pair, rows in found.items():
        lines.append(f"<tr><th>{html.escape(str(pair))}")
        for run in columns:
            lines.append("<td>")
            if run in rows or run not in runs:
                lines.append(f'<img src="{html.escape(pair.file(options, run).name)}" alt="">')
            numbers = [f"{c:8} {written(rows[run][c], c)}" for c in COLUMNS] if run in rows else []
            lines.append(f"<pre>{chr(10).join(numbers)}</pre>")
    return "\n".join([*lines, "</table>"])


def arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, fromfile_prefix_chars="@"
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for pictures, numbers and a page")
    parser.add_argument("--contents", nargs="+", default=[], help="photographs, each with each of --styles")
    parser.add_argument("--styles", nargs="+", default=[])
    parser.add_argument("--pairs", nargs="+", default=[], help="a photograph and a painting each")
    parser.add_argument("--runs", nargs="*", default=["default"], help="the settings to paint with")
    parser.add_argument("--peer", nargs=2, action="append", default=[], metavar=("NAME", "FILE_PATTERN"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--fit", choices=["content", "aspect", "own"], default="content")
    parser.add_argument("--each", action="store_true", help="also a table for each pair")
    parser.add_argument("--judge-only", action="store_true", help="judge again what is there, paint nothing")
    return parser


def main():
    """Paint what is missing, judge it, print the table and write the page."""
    process.prepare_process()  # the processes that paint begin with what this sets, as the command line does
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # they share a GPU with this one
    parser = arguments()
    options = parser.parse_args()
    if len(options.pairs) % 2 or bool(options.contents) != bool(options.styles):
        parser.error("a photograph and a painting make a pair: one of them is missing")
    pairs = [Pair(*each) for each in itertools.product(options.contents, options.styles)]
    pairs += [Pair(*each) for each in zip(options.pairs[::2], options.pairs[1::2], strict=True)]
    pairs = pairs or [Pair(f"sample:{a}", f"sample:{b}") for a, several in SAMPLES.items() for b in several]
    try:
        runs = dict(map(parsed_run, options.runs))
        params = load_network("vgg19", normalised=False).params
    except NstError as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    known = options.out / "pictures.json"
    kept = json.loads(known.read_text()) if known.exists() else {}
    found = {}
    for pair in pairs:
        records = kept.setdefault(f"{pair}, {options.size}", {})
        sources = {run: (painted, settings) for run, settings in runs.items()}
        sources |= {run: (fetched, pattern) for run, pattern in options.peer}
        here = {}
        for run, (source, what) in sources.items():
            record = source(pair, run, what, records.get(run, {}), options)
            if record is not None:
                here[run] = records[run] = record
                known.write_text(json.dumps(kept, indent=1))
        judged(pair, here, params, options)
        known.write_text(json.dumps(kept, indent=1))
        found[pair] = {run: row(record, options.fit) for run, record in here.items()}
        for run, each in found[pair].items():
            print(pair, run, *(f"{name} {each[name]:.3f}" for name in STYLE), flush=True)
    names = [run for run in sources if any(run in rows for rows in found.values())]
    if options.each:
        for pair, rows in found.items():
            print(f"\n{pair}\n\n{table(rows, 'run')}")
    count, averages = means(found, names)
    if count:
        print(f"\nMeans over the {count} of {len(pairs)} pairs that all have\n\n{table(averages, 'run')}")
    (options.out / "index.html").write_text(page(found, names, options))


if __name__ == "__main__":
    main()

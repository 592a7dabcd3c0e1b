"""Tells how much each kind of style changes the photograph, by the weight of the content: for --strength.

python benchmarks/strength.py --out DIR [--size 128] [--evaluations 50] [--kinds gram w2]
python benchmarks/strength.py --out DIR --pairs PHOTO PAINTING PHOTO PAINTING

The square in the middle of each photograph is painted in that of its painting, with a sixteenth, a fourth,
one, 4 and 16 times the content's weight by default. A picture's change is the mean squared difference of its
conv4_2 to the photograph's, over the variance of that (see pictures.py, whose judge it is); the table has the
means over the pairs. By strength s it is to be s times the most: for a weight w times the default s is taken
to be 1 / (1 + w). What DIR has is kept.
"""

import argparse
import json
from pathlib import Path

from pictures import SAMPLES, Judge, Pair, read

from nst_jax import Settings, images, load_network, stylize
from nst_jax.cli import process
from nst_jax.losses.conventions import CONVENTIONS

KINDS = ("gram", "moments", "w2", "sliced", "histogram", "strotss", "nnst")
FACTORS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)


def arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, fromfile_prefix_chars="@"
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for pictures and numbers")
    parser.add_argument("--pairs", nargs="+", default=[], help="a photograph and a painting each")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--factors", nargs="+", type=float, default=FACTORS, help="of the content's weight")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--evaluations", type=int, default=50, help="at each size")
    return parser


def square(image, size):
    """Return the square in the middle of an image, so that all pairs share their programs."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images.resize(image[top : top + side, left : left + side], (size, size))


def table(known, pairs, kinds, factors):
    """Return the mean change by kind and weight as Markdown."""
    lines = [["kind", *(f"{factor:g}" for factor in factors)], ["---"] * (1 + len(factors))]
    for kind in kinds:
        changes = [[known[kind][str(pair)][f"{factor:g}"] for factor in factors] for pair in pairs]
        lines.append([kind, *(f"{sum(column) / len(column):.3f}" for column in zip(*changes, strict=True))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    """Paint what is missing, judge it and print the table."""
    process.prepare_process()
    parser = arguments()
    options = parser.parse_args()
    if len(options.pairs) % 2:
        parser.error("a photograph and a painting make a pair: one of them is missing")
    options.out.mkdir(parents=True, exist_ok=True)
    pairs = [Pair(*each) for each in zip(options.pairs[::2], options.pairs[1::2], strict=True)]
    pairs = pairs or [Pair(f"sample:{a}", f"sample:{several[0]}") for a, several in SAMPLES.items()]
    network, params = load_network("vgg19"), load_network("vgg19", normalised=False).params
    usual = CONVENTIONS["gatys2016"].content_weight
    file = options.out / "strength.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    for pair in pairs:
        photograph, painting = (square(read(name), options.size) for name in (pair.photograph, pair.painting))
        base = Settings().with_values({"solver.evaluations": options.evaluations})
        judge = None
        for kind in options.kinds:
            changes = known.setdefault(kind, {}).setdefault(str(pair), {})
            for factor in options.factors:
                if f"{factor:g}" in changes:
                    continue
                values = {"style.kind": kind, "content.weight": usual * factor}
                result = stylize(photograph, painting, base.with_values(values), network=network)
                images.write(options.out / f"{kind}_{factor:g}_{pair}.png".replace(" × ", "_"), result.image)
                judge = judge or Judge(photograph, painting, params)
                changes[f"{factor:g}"] = judge(result.image)["content"]
                file.write_text(json.dumps(known, indent=1))
                print(pair, kind, f"{factor:g}", f"{changes[f'{factor:g}']:.3f}", flush=True)
    print(table(known, pairs, options.kinds, options.factors))


if __name__ == "__main__":
    main()

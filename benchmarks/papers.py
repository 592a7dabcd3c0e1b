"""The papers' claims in numbers: reconstructions from single layers, Gram matrices from noise, balance.

python benchmarks/papers.py [CONTENT STYLE] [--size 256] [--evaluations 500] [--only content,style,balance]

Needs VGG-19's weights, in $NST_JAX_WEIGHTS or in the cache. Prints Markdown. Everything begins with noise.

content: the content found again from conv1_2 to conv5_2 alone (Gatys et al. 2016, Fig. 1): its structural
         similarity to the photograph (scikit-image; 1 is alike), for both scalings of the network.
style:   how far the Gram matrices of conv1_1 to conv5_1 are matched (Fig. 1, style), for all sets of layers.
balance: both terms at the end of a run with alpha / beta = 1e-3 (Fig. 3 C).
"""

import argparse

from skimage.metrics import structural_similarity

from nst_jax import Settings, images, load_network, stylize
from nst_jax.runs import inputs, records

PAPER = Settings().with_values(
    {"pyramid.levels": 1, "pyramid.variables": "pixels", "loss.total_variation": 0.0}
)

CONTENT = [f"conv{block}_2" for block in range(1, 6)]
STYLE = [f"conv{block}_1" for block in range(1, 6)]


def load(name, size):
    """Return an image by its file or as sample:NAME, its longer side at most ``size``."""
    return images.bounded(inputs.read_picture(name, images.MAX_PIXELS)[0].rgb, size)


def reconstructions(photograph, networks, layers, options):
    """Print the similarity of the photograph to what is found from each layer."""
    print("| layer | " + " | ".join(f"SSIM, {name} | loss of the first, {name}" for name in networks) + " |")
    print("|---|" + "---|" * 2 * len(networks))
    for layer in layers:
        cells = []
        for name, network in networks.items():
            settings = PAPER.with_values({"content.layers": [layer]})
            found = stylize(photograph, None, settings, network=network, **options)
            if OUT:
                images.write(f"{OUT}/content_{layer}_{name}.png", found.image)
            similarity = structural_similarity(photograph, found.image, channel_axis=2, data_range=1.0)
            cells += [f"{similarity:.3f}", f"{found.loss / found.initial_loss:.1e}"]
        print(f"| {layer} | {' | '.join(cells)} |", flush=True)


def styles(painting, network, counts, options):
    """Print how much the Gram loss falls."""
    print("\n| style layers | loss falls by a factor of |\n|---|---|")
    for count in counts:
        layers = STYLE[:count]
        settings = PAPER.with_values({"style.layers": layers, "style.fit": "content"})
        found = stylize(None, painting, settings, network=network, **options)
        if OUT:
            images.write(f"{OUT}/style_{count}.png", found.image)
        print(f"| {STYLE[0]} to {layers[-1]} | {found.initial_loss / found.loss:.0f} |", flush=True)


def balance(photograph, painting, network, options):
    """Print both terms at the end."""
    found = stylize(
        photograph, painting, PAPER, network=network, content_weight=1e-3, style_weight=1.0, **options
    )
    if OUT:
        images.write(f"{OUT}/balance.png", found.image)
    sums = records.by_kind(found.terms)
    ratio = sums["style"] / sums["content"]
    print(f"\ncontent {sums['content']:.4g}, style {sums['style']:.4g}, style / content {ratio:.3g}")


def main():
    """Print what is asked for."""
    global OUT
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("content", nargs="?", default="sample:coffee")
    parser.add_argument("style", nargs="?", default="sample:starry_swirls")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="content,style,balance")
    parser.add_argument("--layers", default=",".join(CONTENT), help="for the content")
    parser.add_argument("--scale", default="original,normalised", help="of the network, for the content")
    parser.add_argument("--sets", default="1,2,3,4,5", help="so many style layers, for the style")
    parser.add_argument("--out", help="a folder for the pictures")
    options = parser.parse_args()
    OUT = options.out
    photograph, painting = (load(name, options.size) for name in (options.content, options.style))
    normalised = load_network("vgg19", normalised=True)
    networks = {"original": load_network("vgg19", normalised=False), "normalised": normalised}
    common = {"init": "noise", "seed": options.seed, "evaluations": options.evaluations}
    wanted = options.only.split(",")
    if "content" in wanted:
        scales = {name: networks[name] for name in options.scale.split(",")}
        reconstructions(photograph, scales, options.layers.split(","), common)
    if "style" in wanted:
        styles(painting, normalised, map(int, options.sets.split(",")), common)
    if "balance" in wanted:
        balance(photograph, painting, normalised, common)


OUT = None

if __name__ == "__main__":
    main()

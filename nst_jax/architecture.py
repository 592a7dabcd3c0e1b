"""What is known of a network before its parameters are: its layer table and how it expects images.

Plain data without JAX, so that configs can check the names of layers.

Reference: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015),
configurations D and E, without their fully connected layers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nst_jax.errors import ConfigError, did_you_mean

Blocks = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Architecture:
    """A network of 3x3 convolutions in blocks, with pooling by two between them.

    Attributes:
        name: what settings and files call it.
        title: what people call it.
        blocks: for each block, its number of convolutions and their channels.
        order: of the colours in its input.
        scale: value of full intensity in its input, before the mean is subtracted.
        mean: colour that is subtracted, in that order and scale: the mean of ImageNet's training set.
    """

    name: str
    title: str
    blocks: tuple[tuple[int, int], ...]
    order: Literal["BGR", "RGB"] = "BGR"
    scale: float = 255.0
    mean: tuple[float, float, float] = (103.939, 116.779, 123.68)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the convolutions, in order."""
        return layer_names(self.blocks)

    @property
    def input(self) -> str:
        """How it expects images, in words."""
        return f"{self.order}, 0 to {self.scale:g}, minus {', '.join(map(str, self.mean))}"


VGG19 = Architecture("vgg19", "VGG-19", ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)))
VGG16 = Architecture("vgg16", "VGG-16", ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)))

ARCHITECTURES = {known.name: known for known in (VGG19, VGG16)}
"""By name; the first is the one meant where none is named."""


def of_blocks(blocks: Blocks) -> Architecture:
    """Return the architecture of a layer table: a known one, perhaps cut short or with other channels."""
    table = tuple((convs, channels) for convs, channels in blocks)
    layers = layer_names(table)
    for known in ARCHITECTURES.values():
        if known.layers[: len(layers)] == layers:
            title = known.title if layers == known.layers else f"{known.title} to {layers[-1]}"
            return replace(known, blocks=table, title=title)
    title = f"a network of {sum(convs for convs, _ in table)} convolutions"
    return Architecture("other", title, table)


def layer_names(blocks: Blocks = VGG19.blocks) -> tuple[str, ...]:
    """Return the names of the convolutions, in order: conv1_1, conv1_2, conv2_1, ..."""
    return tuple(f"conv{b}_{i}" for b, (convs, _) in enumerate(blocks, 1) for i in range(1, convs + 1))


def kernel_shapes(blocks: Blocks = VGG19.blocks) -> dict[str, tuple[int, int, int, int]]:
    """Return the kernel shape ``(3, 3, in, out)`` of every convolution of a layer table."""
    outputs = [channels for convs, channels in blocks for _ in range(convs)]
    inputs = [3, *outputs[:-1]]
    return {name: (3, 3, i, o) for name, i, o in zip(layer_names(blocks), inputs, outputs, strict=True)}


def block_and_index(name: str) -> tuple[int, int]:
    """Return the block of a layer and its index in it: (4, 2) for conv4_2."""
    block, index = name.removeprefix("conv").split("_")
    return int(block), int(index)


def canonical_layers(names: Iterable[str], architecture: Architecture | None = None) -> tuple[str, ...]:
    """Return layer names in their one spelling: ``relu4_2`` is an alias of ``conv4_2``.

    As in the papers, the features of ``conv4_2`` are taken after the rectifier: equations (2) and (6) of
    Gatys et al. (2016) are zero where it is not positive.

    Args:
        names: names of layers.
        architecture: the network that must have them; None: any known network.

    Raises:
        ConfigError: a name that the network does not have.
    """
    known = architecture.layers if architecture else VGG19.layers  # which has all of VGG-16's
    result = []
    for name in names:
        layer = "conv" + name.removeprefix("relu") if name.startswith("relu") else name
        if layer not in known:
            near = did_you_mean(layer, known)
            if architecture:
                raise ConfigError(
                    f"{architecture.title} has no layer '{name}'{near}; it has {', '.join(known)}"
                )
            raise ConfigError(f"unknown layer '{name}'{near}; allowed: {known[0]} to {known[-1]} (post-ReLU)")
        result.append(layer)
    return tuple(result)


def stride(layer: str) -> int:
    """Return how many pixels apart the positions of a layer are: 1 in block 1, 16 in block 5."""
    return int(2 ** (block_and_index(layer)[0] - 1))

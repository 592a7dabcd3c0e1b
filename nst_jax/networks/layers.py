"""The layer table of VGG networks: names, shapes and strides, as plain data (no JAX here).

Reference: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition"
(2015), configuration E, without its fully connected layers.
"""

from collections.abc import Iterable, Sequence

from nst_jax.errors import ConfigError, did_you_mean

Blocks = Sequence[tuple[int, int]]

VGG19: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
"""The layer table: for each block, the number of convolutions and their channels."""


def layer_names(blocks: Blocks = VGG19) -> tuple[str, ...]:
    """Return the names of the convolutions, in order: conv1_1, conv1_2, conv2_1, ..."""
    return tuple(f"conv{b}_{i}" for b, (convs, _) in enumerate(blocks, 1) for i in range(1, convs + 1))


def kernel_shapes(blocks: Blocks = VGG19) -> dict[str, tuple[int, int, int, int]]:
    """Return the kernel shape ``(3, 3, in, out)`` of every convolution of a layer table."""
    outputs = [channels for convs, channels in blocks for _ in range(convs)]
    inputs = [3, *outputs[:-1]]
    return {name: (3, 3, i, o) for name, i, o in zip(layer_names(blocks), inputs, outputs, strict=True)}


def block_and_index(name: str) -> tuple[int, int]:
    """Return the block and the index in it that a layer's name gives: (4, 2) for conv4_2."""
    block, index = name.removeprefix("conv").split("_")
    return int(block), int(index)


def canonical_layers(names: Iterable[str], *, known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return layer names in their one spelling: ``relu4_2`` is an alias of ``conv4_2``.

    As in the papers, a feature ``conv4_2`` is taken after the rectifier: equations (2) and (6) of Gatys et
    al. (2016) are zero where it is not positive.

    Raises:
        ConfigError: a name that the network does not have.
    """
    known = layer_names() if known is None else known
    result = []
    for name in names:
        layer = "conv" + name.removeprefix("relu") if name.startswith("relu") else name
        if layer not in known:
            near = did_you_mean(layer, known)
            raise ConfigError(f"unknown layer '{name}'{near}; allowed: {known[0]} to {known[-1]} (post-ReLU)")
        result.append(layer)
    return tuple(result)


def stride(layer: str) -> int:
    """Return how many pixels one position of a layer stands for: 1 in block 1, 16 in block 5."""
    return int(2 ** (block_and_index(layer)[0] - 1))

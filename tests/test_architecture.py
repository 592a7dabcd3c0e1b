import pytest

from nst_jax import architecture
from nst_jax.architecture import ARCHITECTURES, VGG16, VGG19
from nst_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("network", "layers", "last", "parameters"),
    [(VGG19, 16, "conv5_4", 20_024_384), (VGG16, 13, "conv5_3", 14_714_688)],
)
def test_networks_have_the_published_tables(network, layers, last, parameters):
    """Simonyan & Zisserman (2015), configurations E and D: parameters in the convolutions."""
    assert len(network.layers) == layers
    assert (network.layers[0], network.layers[-1]) == ("conv1_1", last)
    shapes = architecture.kernel_shapes(network.blocks)
    assert sum(3 * 3 * i * o + o for _, _, i, o in shapes.values()) == parameters
    assert network.input == "BGR, 0 to 255, minus 103.939, 116.779, 123.68"


def test_networks_are_known_by_their_names():
    assert {"vgg19": VGG19, "vgg16": VGG16} == ARCHITECTURES


def test_a_narrow_network_is_named_after_the_table_that_it_has():
    narrow = ((2, 4), (2, 4), (3, 6), (3, 6), (3, 6))
    found = architecture.of_blocks(narrow)
    assert (found.name, found.blocks, found.mean) == ("vgg16", narrow, VGG16.mean)
    assert architecture.of_blocks(VGG19.blocks) == VGG19
    assert architecture.of_blocks([*narrow[:3], (2, 6)]).title == "VGG-16 to conv4_2"
    assert architecture.of_blocks([(1, 3), (2, 4)]).title == "a network of 3 convolutions"


def test_relu_is_an_alias():
    assert architecture.canonical_layers(["relu4_2", "conv1_1"]) == ("conv4_2", "conv1_1")


@pytest.mark.parametrize(
    ("name", "near"),
    [("conv4_9", "conv4_"), ("relu4-2", "conv4_2"), ("conv_4_2", "conv4_2"), ("pool1", "allowed")],
)
def test_unknown_layer_says_what_is_allowed(name, near):
    with pytest.raises(ConfigError) as caught:
        architecture.canonical_layers([name])
    assert f"'{name}'" in str(caught.value)
    assert near in str(caught.value)
    assert "conv1_1 to conv5_4" in str(caught.value)


def test_a_layer_of_another_network_is_named_with_the_network():
    assert architecture.canonical_layers(["conv3_4"]) == ("conv3_4",)
    with pytest.raises(
        ConfigError, match=r"^VGG-16 has no layer 'conv3_4' \(did you mean 'conv3_.'\?\); it has c"
    ):
        architecture.canonical_layers(["conv3_4"], VGG16)


def test_stride_doubles_with_every_block():
    assert [architecture.stride(f"conv{b}_1") for b in range(1, 6)] == [1, 2, 4, 8, 16]

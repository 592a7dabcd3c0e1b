import pytest

from nst_jax.errors import ConfigError
from nst_jax.networks import layers


def test_vgg19_has_the_published_table():
    names = layers.layer_names()
    assert len(names) == 16
    assert (names[0], names[-1]) == ("conv1_1", "conv5_4")
    # Simonyan & Zisserman (2015), configuration E: 20 024 384 parameters in the convolutions.
    total = sum(3 * 3 * i * o + o for _, _, i, o in layers.kernel_shapes().values())
    assert total == 20_024_384


def test_relu_is_an_alias():
    assert layers.canonical_layers(["relu4_2", "conv1_1"]) == ("conv4_2", "conv1_1")


@pytest.mark.parametrize(
    ("name", "near"),
    [("conv4_9", "conv4_"), ("relu4-2", "conv4_2"), ("conv_4_2", "conv4_2"), ("pool1", "allowed")],
)
def test_unknown_layer_says_what_is_allowed(name, near):
    with pytest.raises(ConfigError) as caught:
        layers.canonical_layers([name])
    assert f"'{name}'" in str(caught.value)
    assert near in str(caught.value)
    assert "conv1_1 to conv5_4" in str(caught.value)


def test_stride_doubles_with_every_block():
    assert [layers.stride(f"conv{b}_1") for b in range(1, 6)] == [1, 2, 4, 8, 16]

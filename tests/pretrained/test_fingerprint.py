"""What a network is recognised by, on a small one."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.pretrained import fingerprint

SHAPES = {"conv1_1": (3, 3, 3, 16), "conv1_2": (3, 3, 16, 32), "conv2_1": (3, 3, 32, 48)}


def network(seed=0):
    random = np.random.default_rng(seed)
    return {
        name: {
            "kernel": random.normal(0, 0.1, shape).astype(np.float32),
            "bias": random.normal(0, 0.3, shape[-1]).astype(np.float32),
        }
        for name, shape in SHAPES.items()
    }


PARAMS = network()
STORED = json.loads(json.dumps(fingerprint.of(PARAMS)))


def cast(change):
    return {
        name: {part: np.float32(change(array)) for part, array in layer.items()}
        for name, layer in PARAMS.items()
    }


def with_layer(**changes):
    return PARAMS | {"conv1_2": PARAMS["conv1_2"] | changes}


def eight_bits(array):
    step = np.abs(array).max() / 127
    return np.rint(array / step) * step


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array,
        lambda array: array.astype(np.float16),
        lambda array: array.astype(jnp.bfloat16),
        eight_bits,
        lambda array: eight_bits(array.astype(jnp.bfloat16).astype(np.float32)),
    ],
    ids=["itself", "float16", "bfloat16", "8 bits", "8 bits of bfloat16"],
)
def test_rounded_copies_are_recognised(change):
    assert fingerprint.matches(STORED, cast(change))


def test_jax_arrays_and_any_order_of_layers():
    assert fingerprint.matches(STORED, {name: PARAMS[name] for name in reversed(PARAMS)})
    arrays = {n: {part: jnp.asarray(array) for part, array in layer.items()} for n, layer in PARAMS.items()}
    assert fingerprint.matches(STORED, arrays)
    assert json.loads(json.dumps(fingerprint.of(arrays))) == STORED


KERNEL, BIAS = PARAMS["conv1_2"]["kernel"], PARAMS["conv1_2"]["bias"]
ORDER = np.random.default_rng(0).permutation(32)
NOISE = np.random.default_rng(0).normal(0, 0.05, KERNEL.shape).astype(np.float32)
OTHERS = {
    "noise of half its size": with_layer(kernel=KERNEL + NOISE),
    "louder": with_layer(kernel=KERNEL * np.float32(1.1)),
    "turned": with_layer(kernel=KERNEL[::-1, ::-1]),
    "its inputs in another order": with_layer(kernel=KERNEL[:, :, ::-1]),
    "filters in another order": with_layer(kernel=KERNEL[..., ORDER], bias=BIAS[ORDER]),
    "one bias": with_layer(bias=BIAS + np.float32(0.05) * (np.arange(32) == 5)),
    "zero": with_layer(kernel=0 * KERNEL),
    "another training": network(1),
    "fewer layers": {name: PARAMS[name] for name in list(PARAMS)[:2]},
    "fewer filters": with_layer(kernel=KERNEL[..., :16], bias=BIAS[:16]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_networks_are_not(other):
    assert not fingerprint.matches(STORED, OTHERS[other])


def test_a_layer_of_zeros_has_a_fingerprint_too():
    zeros = with_layer(kernel=0 * KERNEL, bias=0 * BIAS)
    assert fingerprint.matches(fingerprint.of(zeros), zeros)
    assert not fingerprint.matches(fingerprint.of(zeros), PARAMS)


def test_the_signs_stay_the_same_in_any_version():
    """Else the fingerprints that come with the package are of nothing."""
    ones = {"conv1_1": {"kernel": np.eye(9 * 3, dtype=np.float32).reshape(3, 3, 3, 27), "bias": np.ones(27)}}
    signs = [level // 127 for level in fingerprint.of(ones)["conv1_1"]["kernel"][1:]]
    assert "".join("-+"[sign > 0] for sign in signs) == "++-++-++++---++----+---+++-"

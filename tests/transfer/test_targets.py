from functools import partial

import jax
import numpy as np
import pytest
from problems import network_of, problem, settings

from nst_jax.errors import SettingError
from nst_jax.losses.gram import gram_matrix
from nst_jax.networks import vgg
from nst_jax.transfer.pictures import Pictures
from nst_jax.transfer.problem import make_problem
from nst_jax.transfer.targets import targets_of

PATCHES = {"style.kind": "patch", "style.layers": ("conv2_1",)}


def test_targets_are_of_the_pictures(pair, narrow):
    found = problem(pair, network_of(narrow))
    targets = targets_of(found, found.prepared())
    content, style = (
        vgg.features(narrow, vgg.to_input(image), layers=("conv1_1", "conv2_1", "conv2_2"))
        for image in (found.content, found.paintings[0].image)
    )
    np.testing.assert_allclose(targets.content["conv2_2"], content["conv2_2"], rtol=1e-3, atol=1e-3)
    for layer in ("conv1_1", "conv2_1"):
        np.testing.assert_allclose(targets.style[layer], gram_matrix(style[layer]), rtol=1e-3)


def test_a_content_wraps_as_the_picture_does_and_a_style_does_not(pair, narrow):
    found = problem(pair, network_of(narrow), {"network.padding": "wrap"})
    targets = targets_of(found, found.prepared())
    look = partial(vgg.features, narrow, layers=("conv1_1", "conv2_1", "conv2_2"))
    content = look(vgg.to_input(found.content), padding="wrap")
    style = look(vgg.to_input(found.paintings[0].image), padding="replicate")
    np.testing.assert_allclose(targets.content["conv2_2"], content["conv2_2"], rtol=1e-3, atol=1e-3)
    for layer in ("conv1_1", "conv2_1"):
        np.testing.assert_allclose(targets.style[layer], gram_matrix(style[layer]), rtol=1e-3)


def test_targets_of_patches_have_their_maps_and_copies(pair, narrow, random):
    maps = random.random((24, 32, 2)), random.random((40, 28, 2))
    values = PATCHES | {"patch.rotations": (-10, 10), "pyramid.levels": 1}
    found = problem(pair, network_of(narrow), values, maps=maps)
    assert (found.content_map.shape, found.paintings[0].map.shape) == ((24, 32, 2), (24, 32, 2))
    target = targets_of(found, found.prepared()).style["conv2_1"]
    assert [source.map.shape[-1] for source in target.sources] == [2] * 3
    assert target.map.shape == (12, 16, 2)
    none = problem(pair, network_of(narrow), values | {"semantic.weight": 0.0}, maps=maps)
    assert not np.any(targets_of(none, none.prepared()).style["conv2_1"].map)


def made(pictures, network, values=None):
    found = make_problem(pictures, settings(values), network)
    return targets_of(found, found.prepared()).style


@pytest.mark.parametrize("kind", ["gram", "moments"])
def test_statistics_of_several_styles_are_averaged(pair, network, random, kind):
    content, one = pair
    other = np.float32(random.uniform(size=(20, 25, 3)))
    values = {"style.kind": kind}
    mixed = made(Pictures(content, (one, other)), network, values | {"style.shares": (3, 1)})
    singly = [made(Pictures(content, style), network, values) for style in (one, other)]
    wanted = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, *singly)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), mixed, wanted)
    equal = made(Pictures(content, (one, one)), network, values)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), equal, singly[0])


def test_covariances_of_several_styles_are_those_of_their_union(pair, network):
    """Not the averages of theirs: that their means differ counts too."""
    content, one = pair
    other = 1 - one
    mixed = made(Pictures(content, (one, other)), network, {"style.kind": "w2"})["conv1_1"]
    F = [
        vgg.features(network.params, vgg.to_input(each), layers=["conv1_1"])["conv1_1"]
        for each in (
            make_problem(Pictures(content, style), settings(), network).paintings[0].image
            for style in (one, other)
        )
    ]
    both = np.concatenate([np.float64(each).reshape(-1, each.shape[-1]) for each in F])
    covariance = np.cov(both.T, bias=True)
    root = np.float64(mixed.root)
    np.testing.assert_allclose(
        root @ root - mixed.ridge * np.eye(len(root)), covariance, atol=2e-3 * np.abs(covariance).max()
    )


def test_patches_of_several_styles_are_all_there(pair, network):
    content, one = pair
    found = made(Pictures(content, (one, 1 - one)), network, PATCHES)["conv2_1"]
    singly = [made(Pictures(content, style), network, PATCHES)["conv2_1"] for style in (one, 1 - one)]
    assert len(found.sources) == 2
    for source, single in zip(found.sources, singly, strict=True):
        np.testing.assert_allclose(source.features, single.sources[0].features, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sliced", "histogram", "strotss", "nnst", "patch"])
def test_a_style_without_a_share_does_not_count(pair, network, kind):
    content, one = pair
    values = {"style.kind": kind}
    mixed = made(Pictures(content, (one, 1 - one)), network, values | {"style.shares": (1, 0)})
    jax.tree.map(np.testing.assert_array_equal, mixed, made(Pictures(content, one), network, values))


def test_shares_that_do_not_fit(pair, network):
    with pytest.raises(SettingError, match=r"style.shares: there are 3 for 2 styles: give one for each"):
        made(Pictures(pair[0], (pair[1], pair[1])), network, {"style.shares": (1, 2, 3)})


def test_maps_go_with_one_style(pair, network):
    maps = np.ones((24, 32, 1), np.float32), np.ones((40, 28, 1), np.float32)
    with pytest.raises(SettingError, match="several styles: maps go with one"):
        made(Pictures(pair[0], (pair[1], pair[1]), *maps), network, PATCHES)

import itertools

import distil
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.networks import vgg


def pictures(folder, count):
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).uniform(size=(40 + i, 60, 3))
        images.write(folder / f"{i}.png", np.float32(pixels))
    return folder


def test_crops_are_squares_of_one_size(random):
    picture = np.float32(random.uniform(size=(70, 50, 3)))
    for _ in range(20):
        found = distil.crop(picture, random)
        assert found.shape == (distil.SIDE, distil.SIDE, 3)
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("count", [0, 3, 19])
def test_a_folder_of_too_few_pictures_is_refused(tmp_path, count, capsys):
    folder = pictures(tmp_path / "pictures", count)
    (folder / "notes.txt").write_text("no picture")
    with pytest.raises(ImageError, match=f"should hold at least 20 pictures, has {count}"):
        distil.read_pictures(folder)
    assert "notes.txt: is no picture" in capsys.readouterr().err


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    folder = pictures(tmp_path / "pictures", 20)
    (tmp_path / "no.h5").write_bytes(b"no weights")
    for arguments, message in (
        ([tmp_path / "no.h5", folder], "no.h5"),
        ([tmp_path / "no.h5", tmp_path / "nowhere"], "should be a folder of pictures"),
        ([tmp_path / "no.h5", folder, "--out", tmp_path / "gone" / "c.npz"], "gone does not exist"),
    ):
        monkeypatch.setattr("sys.argv", ["distil.py", *map(str, arguments)])
        assert distil.main() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_the_features_chosen_first_predict_the_others_best(random):
    F = np.float32(random.normal(size=(200, 3)) @ random.normal(size=(3, 6)))
    (first,) = distil.chosen_features(F, 1)
    left = []
    for channel in range(6):
        one = F[:, [channel]]
        left.append(np.sum((F - one @ np.linalg.lstsq(one, F, rcond=None)[0]) ** 2))
    assert first == np.argmin(left)
    chosen = distil.chosen_features(F, 3)  # three of them span all
    found = F[:, chosen] @ np.linalg.lstsq(F[:, chosen], F, rcond=None)[0]
    np.testing.assert_allclose(found, F, atol=1e-3 * np.abs(F).max())


def test_patches_are_what_a_convolution_sees(random):
    x, W = np.float32(random.normal(size=(5, 6, 2))), np.float32(random.normal(size=(19, 4)))
    at = np.array(list(itertools.product(range(5), range(6)))).T
    layer = {"kernel": W[:-1].reshape(3, 3, 2, 4), "bias": W[-1]}
    wanted = distil.pre_activations(jnp.asarray(x), layer)
    np.testing.assert_allclose(distil.patches(x, *at) @ W, wanted.reshape(-1, 4), rtol=1e-4, atol=1e-4)


def test_regression_cares_only_for_what_is_above_zero(random):
    U = np.float32(np.c_[random.normal(size=(500, 4)), np.ones(500)])
    W = np.float32(random.normal(size=(5, 3)))
    Z = U @ W
    np.testing.assert_allclose(distil.regression(U, Z), W, atol=2e-3)
    silent = np.where(Z > 0, Z, 5 * Z)  # how far below zero is nobody's business
    plain = np.linalg.lstsq(U, silent, rcond=None)[0]
    error = lambda found: np.mean((np.maximum(U @ found, 0) - np.maximum(Z, 0)) ** 2)
    assert error(distil.regression(U, silent)) < 0.7 * error(plain)


def test_normalising_undoes_unnormalised(monkeypatch, narrow, random):
    monkeypatch.setattr(distil, "LAYERS", tuple(narrow))
    means = {name: jnp.asarray(random.uniform(1, 2, layer["bias"].shape)) for name, layer in narrow.items()}
    again = vgg.normalise(distil.unnormalised(narrow, means), means)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), again, narrow)

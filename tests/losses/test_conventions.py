import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import reference

from nst_jax.losses.conventions import CONVENTIONS, ConventionName

N, HEIGHT, WIDTH = 6, 4, 5
M = HEIGHT * WIDTH


@pytest.fixture
def maps(random):
    """Features of an image, its content and its style, in one layer."""
    return np.maximum(random.normal(size=(3, HEIGHT, WIDTH, N)), 0)


def mse(a, b):
    """nn.MSECriterion and F.mse_loss."""
    return np.mean((a - b) ** 2)


def paper(F, P, A):
    """Equations (1), (4) and (5), one of five style layers."""
    return reference.content_equation(F, P), reference.style_equation(F, A) / 5


def averaged(F, P, A):
    """The paper with equation (1) averaged over its N M values, thirty times: see `conventions.LIKENESS`."""
    content, style = paper(F, P, A)
    return 30 * content / (N * M), style


def notebook(F, P, A):
    """leongatys/PytorchNeuralStyleTransfer: GramMatrix divides by h w; weights 1e3 / n^2 for n channels."""
    return mse(F, P), mse(reference.gram(F) / M, reference.gram(A) / M) / N**2


def neural_style(F, P, A):
    """jcjohnson/neural-style: the Gram matrix is divided by target:nElement(), N M."""
    return mse(F, P), mse(reference.gram(F) / (N * M), reference.gram(A) / (N * M))


def neural_doodle(F, P, A):
    """alexjc/neural-doodle averages both; for patches, but its factors are these."""
    return mse(F, P), mse(reference.gram(F) / M, reference.gram(A) / M)


PUBLISHED = {
    "gatys2016": (averaged, 0.6e-3),  # 0.6 of alpha / beta of Fig. 3
    "literal": (paper, 1e-9),
    "notebook": (notebook, 1 / 1e3),
    "johnson": (neural_style, 5 / 1e2),
    "champandard2016": (neural_doodle, 10 / 50),
}


def loss_terms(rules, F, P, A):
    """The content and the style term as the table's docstring has them, without alpha and beta."""
    C = mse(F, P)
    S = mse(reference.gram(F) / M, reference.gram(A) / M)
    content = rules.content_factor * C * (N * M if rules.content_sum else 1)
    share = 1 / 5 if rules.layers_share else 1
    return content, share * rules.style_factor * S / (N**2 if rules.style_per_channel else 1)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_terms_and_weights_are_the_published_ones(maps, name):
    rules, (published, ratio) = CONVENTIONS[name], PUBLISHED[name]
    np.testing.assert_allclose(loss_terms(rules, *maps), published(*maps), rtol=1e-12)
    assert rules.content_weight / rules.style_weight == pytest.approx(ratio)


def test_layers_by_name_count_alike_or_ever_less():
    names = ("conv1_1", "conv2_1", "conv3_1")
    assert CONVENTIONS["gatys2016"].layer_weights(names) == pytest.approx(dict.fromkeys(names, 1 / 3))
    assert CONVENTIONS["notebook"].layer_weights(names) == dict.fromkeys(names, 1)
    falling = CONVENTIONS["gatys2016"].layer_weights(names, falloff=2)
    assert falling == pytest.approx({"conv1_1": 4 / 7, "conv2_1": 2 / 7, "conv3_1": 1 / 7})
    assert sum(CONVENTIONS["notebook"].layer_weights(names, falloff=2).values()) == pytest.approx(3)
    assert CONVENTIONS["literal"].layer_weights(()) == {}
    assert [name for name, rules in CONVENTIONS.items() if rules.falloff > 1] == ["gatys2016"]


def test_only_johnsons_formula_smoothes_and_the_papers_is_smoothed_besides():
    assert {name for name, rules in CONVENTIONS.items() if rules.smoothness} == {"gatys2016", "literal"}
    weights = {name: (rules.total_variation, rules.variation_sum) for name, rules in CONVENTIONS.items()}
    assert weights.pop("johnson") == (1e-3, True)
    assert set(weights.values()) == {(0, False)}


def test_the_papers_and_only_they_use_the_normalised_network():
    assert CONVENTIONS["gatys2016"].normalised
    assert not CONVENTIONS["notebook"].normalised
    assert not CONVENTIONS["johnson"].normalised
    assert not CONVENTIONS["champandard2016"].normalised


def test_the_literal_paper_uses_the_normalised_network():
    assert CONVENTIONS["literal"].normalised


def test_every_name_has_its_convention():
    assert get_args(ConventionName) == tuple(CONVENTIONS)


def test_conventions_are_known_without_jax():
    code = "import sys, nst_jax.losses.conventions; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

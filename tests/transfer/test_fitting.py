from dataclasses import replace

import jax
import numpy as np
import pytest

from nst_jax import config
from nst_jax.errors import NstError
from nst_jax.networks import vgg
from nst_jax.runs import inputs
from nst_jax.transfer import fitting, memory, objective
from nst_jax.transfer import loop as transfer
from nst_jax.transfer import problem as tasks


@pytest.fixture
def task(narrow, random):
    content, style = (np.float32(random.uniform(size=(40, 56, 3))) for _ in range(2))
    return tasks.prepare(
        content,
        style,
        params=narrow,
        init="content",
        **inputs.options(config.load(base={"content": "a.png", "style": "b.png"})),
    )


def limited(monkeypatch, nbytes):
    monkeypatch.setattr(memory, "usable", lambda devices, limit: nbytes)


def test_an_estimate_is_what_the_run_takes(task):
    """Of the arrays of a run, added up here."""
    found = fitting.estimate(task)
    pair = 2 * task.content.nbytes
    assert 100 * pair < found.optimiser < 104 * pair
    network = task.network()
    args = jax.tree.leaves((network, tasks.targets(task, network)))
    assert found.network == pytest.approx(sum(array.nbytes for array in args), rel=0.01)
    features = vgg.features(network, vgg.to_input(task.content), layers=list(network))
    kept = sum(array.nbytes for array in features.values())
    assert kept < found.features < 4 * kept
    assert found.total == found.network + found.optimiser + found.features


def test_an_estimate_fits_in_what_is_usable_or_not(task, monkeypatch):
    total = fitting.estimate(task).total
    for usable in (total - 1, total):
        limited(monkeypatch, usable)
        found = fitting.estimate(task)
        assert (found.usable, found.fits) == (usable, usable == total)


def test_what_fits_is_left_alone(task, monkeypatch):
    limited(monkeypatch, 2**40)
    assert fitting.fit(task)[0].program == task.program


def test_the_history_shrinks_first_then_features_are_computed_twice(task, monkeypatch):
    pair, whole = 2 * task.content.nbytes, fitting.estimate(task).total
    limited(monkeypatch, whole - 30 * pair)
    fitted, found = fitting.fit(task)
    assert fitted.program.history in (69, 70)
    assert fitted.program.recompute == 0
    assert found.fits
    twice = replace(task, program=replace(task.program, recompute=objective.IN_STRIPS))
    assert fitting.estimate(twice).features <= fitting.estimate(task).features
    limited(monkeypatch, fitting.estimate(twice).total - 90 * pair)
    fitted, found = fitting.fit(task)
    assert fitted.program.recompute == objective.IN_STRIPS
    assert fitting.FEWEST <= fitted.program.history <= 10
    assert found.fits


def test_what_the_user_chose_is_not_changed(narrow, task, monkeypatch):
    options = inputs.options(config.load(base={"content": "a.png", "style": "b.png"})) | {
        "history": 50,
        "memory": "fast",
    }
    chosen = tasks.prepare(task.content, task.style, params=narrow, init="content", **options)
    limited(monkeypatch, fitting.estimate(chosen).total - 1)
    with pytest.raises(NstError, match="56 x 40 needs about"):
        fitting.fit(chosen)


def test_a_refusal_has_the_numbers_and_a_size_that_would_fit(task, monkeypatch):
    limited(monkeypatch, fitting.estimate(task).network)
    with pytest.raises(NstError, match=r"needs about \d+ MiB .* for the network.*free some memory"):
        fitting.fit(replace(task, open=()))
    large = replace(task, content=np.zeros((400, 300, 3), np.float32), open=())
    limited(monkeypatch, fitting.estimate(large).total // 2)
    with pytest.raises(NstError, match=r"use --size \d+") as refusal:
        fitting.fit(large)
    size = int(str(refusal.value).split("--size ")[1].split(",")[0])
    smaller = replace(large, content=np.zeros((size, size * 3 // 4, 3), np.float32))
    assert fitting.estimate(smaller).fits


def test_a_limit_bounds_a_run(narrow, random, monkeypatch):
    content, style = (np.float32(random.uniform(size=(24, 24, 3))) for _ in range(2))
    from nst_jax import Encoder

    encoder = Encoder(narrow, "narrow", "0", "random", "none")
    with pytest.raises(NstError, match="larger --memory-limit"):
        transfer.stylize(content, style, encoder=encoder, evaluations=2, memory_limit=2**20)
    assert (
        transfer.stylize(content, style, encoder=encoder, evaluations=2, memory_limit=2**40).evaluations == 2
    )

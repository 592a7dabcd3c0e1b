import os
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from nst_jax.errors import OutputError
from nst_jax.solvers.adam import adam
from nst_jax.solvers.lbfgs import lbfgs
from nst_jax.transfer import checkpoints

ABOUT = {"stamp": "a1", "cells": [0, 3], "curve": [{"loss": 0.1, "note": None}]}


def valley(x, slopes):
    value = jnp.sum(slopes * jnp.square(x - 1))
    return value, {"half": value / 2}


METHOD = lbfgs(valley, history=3)
SLOPES = np.float32(np.linspace(1, 30, 12))
STEP = jax.jit(METHOD.step)


def after(steps, state=None):
    state = jax.jit(METHOD.init)(jnp.zeros(12), SLOPES) if state is None else state
    for _ in range(steps):
        state = STEP(state, SLOPES)
    return state


def bits(state):
    leaves, structure = jax.tree.flatten(state)
    return structure, [(np.asarray(x).dtype, np.shape(x), np.asarray(x).tobytes()) for x in leaves]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the state after five steps, that state, and the bytes of its file."""
    folder, state = tmp_path_factory.mktemp("saved"), after(5)
    checkpoints.save(folder / "a.npz", state, ABOUT)
    return folder, state, (folder / "a.npz").read_bytes()


def load(folder, data, like):
    (folder / "other.npz").write_bytes(data)
    return checkpoints.load(folder / "other.npz", like)


def test_a_state_comes_back_bit_for_bit(saved):
    folder, state, _ = saved
    found, about = checkpoints.load(folder / "a.npz", after(0))
    assert bits(found) == bits(state)
    assert about == ABOUT


def test_numbers_that_are_not_finite_come_back_too(tmp_path):
    state = {
        "a": np.float32([np.inf, -0.0, np.nan, 1e-45]),
        "b": np.bool_(True),
        "c": np.zeros((0, 3), np.int8),
    }
    checkpoints.save(tmp_path / "a.npz", state, {})
    assert bits(checkpoints.load(tmp_path / "a.npz", state)[0]) == bits(state)


def test_going_on_from_a_file_is_as_if_there_had_been_no_stop(saved):
    folder, _, _ = saved
    found, _ = checkpoints.load(folder / "a.npz", jax.eval_shape(lambda: after(0)))
    assert bits(after(6, found)) == bits(after(11))
    assert bits(after(6, found)) != bits(after(5, found))


def test_a_state_of_another_form_is_not_taken(saved):
    folder, state, _ = saved
    others = [
        replace(state, x=jnp.zeros(11)),
        replace(state, x=jnp.zeros((12, 1))),
        replace(state, x=jnp.zeros(12, jnp.int32)),
        replace(state, aux={}),
        replace(state, aux={"half": state.value, "more": state.value}),
        jax.eval_shape(lbfgs(valley, history=4).init, jnp.zeros(12), SLOPES),
        jax.eval_shape(adam(valley).init, jnp.zeros(12), SLOPES),
    ]
    assert [checkpoints.load(folder / "a.npz", other) for other in others] == [None] * len(others)


def test_a_state_of_more_or_fewer_arrays_is_not_taken(tmp_path):
    arrays = [np.zeros(3), np.ones(2), np.ones(2)]
    checkpoints.save(tmp_path / "a.npz", arrays[:2], {})
    found = [checkpoints.load(tmp_path / "a.npz", arrays[:count]) is not None for count in range(4)]
    assert found == [False, False, True, False]


def test_a_damaged_file_is_closed_again(saved):
    folder, state, whole = saved
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(folder, whole[:-1], state)
    assert not caught


@given(st.data())
@examples(max_examples=50)
def test_a_file_cut_short_is_none(saved, data):
    folder, state, whole = saved
    assert load(folder, whole[: data.draw(st.integers(0, len(whole) - 1))], state) is None


@given(st.data())
@examples(max_examples=50)
def test_a_damaged_file_is_none_or_read_right(saved, data):
    folder, state, whole = saved
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = load(folder, bytes(damaged), state)
    assert found is None or (bits(found[0]), found[1]) == (bits(state), ABOUT)


@given(st.binary(max_size=200))
def test_any_other_file_is_none(saved, data):
    folder, state, _ = saved
    assert load(folder, data, state) is None


def test_what_is_said_of_a_state_can_be_read_alone(saved, tmp_path):
    folder, _, _ = saved
    assert checkpoints.about(folder / "a.npz") == ABOUT
    (tmp_path / "a.npz").write_bytes(b"damaged")
    assert checkpoints.about(tmp_path / "a.npz") == checkpoints.about(tmp_path / "absent.npz") == {}


def test_files_of_others_are_none(saved, tmp_path):
    _, state, _ = saved
    leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))}
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "no about.npz", **leaves)
    np.savez(tmp_path / "pickled.npz", about=np.array({"a": 1}, object), **leaves)
    np.savez(tmp_path / "no json.npz", about=np.zeros(3, np.uint8), **leaves)
    (tmp_path / "folder").mkdir()
    names = [
        "array.npy",
        "no about.npz",
        "pickled.npz",
        "no json.npz",
        "folder",
        "absent.npz",
        "nowhere/a.npz",
    ]
    assert [checkpoints.load(tmp_path / name, state) for name in names] == [None] * len(names)


def test_a_failed_write_leaves_the_state_before(tmp_path, monkeypatch):
    path, state = tmp_path / "a.npz", after(5)
    checkpoints.save(path, state, ABOUT)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with pytest.raises(TypeError):
        checkpoints.save(path, after(6), {"a": object()})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.npz: cannot be written: No space left on device"):
        checkpoints.save(path, after(6), {})
    monkeypatch.undo()
    found, about = checkpoints.load(path, state)
    assert (bits(found), about) == (bits(state), ABOUT)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    checkpoints.save(path, after(6), {})
    assert bits(checkpoints.load(path, state)[0]) == bits(after(6))

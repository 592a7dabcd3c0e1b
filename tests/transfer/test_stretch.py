"""Turns: a run that is gone on with otherwise is the run that begins there."""

import numpy as np
import pytest
from problems import problem, solve

from nst_jax import images
from nst_jax.transfer import memory, program
from nst_jax.transfer.looks import Turn
from nst_jax.transfer.remembering import remembering


def at(evaluations, what, seen=None):
    """Return a watcher that answers at a look after so many evaluations, and that this look is due."""

    def watch(look):
        done = look.before + int(look.evaluations[0])
        if seen is not None:
            seen.append(look)
        return what(look) if done == evaluations else None

    return {"watch": watch, "is_due": lambda done: done == evaluations}


def spent(look):
    return look.before + int(look.evaluations[0])


@pytest.mark.parametrize("values", [{"style.weight": 3e3}, {"style.scale": 0.7}, {"style.kind": "moments"}])
def test_a_turn_is_a_run_that_begins_with_the_picture_of_then(pair, network, values):
    pictures = []

    def turn(look):
        pictures.append(look.raw()[0])
        return Turn(problem(pair, network, values))

    found = solve(problem(pair, network), **at(5, turn))
    fresh = solve(problem(pair, network, values | {"solver.evaluations": 7}, init=pictures[0]))
    assert (found.evaluations, found.status) == (12, "finished")
    np.testing.assert_array_equal(found.image, fresh.image)
    assert (found.loss, found.initial_loss) == (fresh.loss, fresh.initial_loss)
    assert found.initial_loss > found.loss


def test_a_turn_may_bring_another_picture(pair, network):
    image = images.resize(pair[0][::-1], (12, 16))  # of another size
    found = solve(problem(pair, network), **at(5, lambda look: Turn(problem(pair, network), image)))
    whole = images.resize(image, (24, 32))
    np.testing.assert_array_equal(
        found.image, solve(problem(pair, network, {"solver.evaluations": 7}, init=whole)).image
    )


def test_a_look_that_is_due_is_before_the_next_step(pair, network):
    seen = []
    solve(
        problem(pair, network, {"solver.evaluations": 40}),
        seen.append,
        is_due=lambda done: done in (3, 17, 18),
    )
    assert {3, 17, 18} <= {spent(look) for look in seen}
    assert spent(seen[-1]) == 40


def test_a_turn_at_one_of_many_sizes_stays_there(pair, network):
    seen, shapes = [], []
    given = problem(pair, network, {"pyramid.levels": 2})
    solve(given, **at(4, lambda look: shapes.append(look.raw().shape) or Turn(given), seen))
    assert shapes == [(1, 12, 16, 3)]
    assert [look.level for look in seen] == sorted(look.level for look in seen)
    assert {look.total for look in seen} == {24}
    assert spent(seen[-1]) == 24
    by_level = [spent(look) for look in seen if look.level == 1]
    assert by_level[-1] == 12  # what was spent there before the turn counts


@pytest.mark.parametrize("evaluations", [12, 24])
def test_a_turn_at_the_end_of_a_size_begins_the_next_or_ends(pair, network, evaluations):
    levels = {"pyramid.levels": 2}
    given = problem(pair, network, levels)
    found = solve(given, **at(evaluations, lambda look: Turn(given)))
    np.testing.assert_array_equal(found.image, solve(given).image)
    assert found.evaluations == 24


def test_a_turn_to_more_evaluations_goes_on_after_the_last(pair, network):
    more = problem(pair, network, {"solver.evaluations": 20})
    seen = []
    found = solve(problem(pair, network), **at(12, lambda look: Turn(more), seen))
    assert (found.evaluations, found.status) == (20, "finished")
    assert [look.total for look in seen][-1] == 20


def test_the_watcher_may_end_a_run_at_the_end_of_a_size(pair, network):
    found = solve(problem(pair, network, {"pyramid.levels": 2}), **at(12, lambda look: True))
    assert (found.evaluations, found.status) == (12, "interrupted")


def test_other_weights_ask_for_no_other_program(pair, network, monkeypatch):
    given, fits = problem(pair, network), []
    fit = memory.fit
    monkeypatch.setattr(memory, "fit", lambda *args: fits.append(args) or fit(*args))
    compiled = program._compiled.cache_info().misses
    solve(
        given,
        remember=remembering(8),
        **at(5, lambda look: Turn(problem(pair, network, {"style.weight": 9.0}))),
    )
    assert len(fits) == 1
    assert program._compiled.cache_info().misses - compiled <= 1


def test_what_watchers_take_is_not_the_runs_time(pair, network, monkeypatch):
    clock = iter(np.arange(1e5))
    seen, given = [], problem(pair, network)

    def slow(look):
        for _ in range(1000):
            next(clock)
        seen.append(look.seconds)

    monkeypatch.setattr("nst_jax.transfer.stretch.time.perf_counter", lambda: float(next(clock)))
    solve(given, slow, stops=1)
    assert len(seen) == 12
    assert seen[-1] < 200

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_jax.runs.forecast import Cluster, forecast, simulate
from nst_jax.runs.schedule import Task

tasks = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), min_size=1, max_size=30).map(
    lambda found: [Task((n,), program, float(cost)) for n, (program, cost) in enumerate(found)]
)


def tasks_of(*costs, program="p", first=0):
    return [Task((first + number,), program, float(cost)) for number, cost in enumerate(costs)]


@given(tasks)
def test_one_worker_takes_all_work_and_compiles_each_program_once(tasks):
    programs = len({task.program for task in tasks})
    done = simulate(tasks, Cluster(1), compiling=lambda program: 3.0)
    assert done.makespan == pytest.approx(sum(task.cost for task in tasks) + 3 * programs)
    assert (done.compiling, done.lost) == (3.0 * programs, 0.0)


@given(tasks, st.integers(1, 8))
def test_many_workers_are_within_what_is_known_of_lists(tasks, workers):
    """Graham 1966: work / workers + (1 - 1 / workers) of the longest, whatever the order."""
    total, longest = sum(task.cost for task in tasks), max(task.cost for task in tasks)
    span = simulate(tasks, Cluster(workers)).makespan
    assert max(total / workers, longest) - 1e-9 <= span
    assert span <= total / workers + (1 - 1 / workers) * longest + 1e-9


@given(tasks, st.integers(1, 8), st.integers(2, 6))
def test_what_dies_is_done_again(tasks, workers, every):
    """Each so many tasks that are begun die half-way."""
    begun = itertools.count(1)
    cluster = Cluster(workers, dies=lambda: None if next(begun) % every else 0.5, restart=1.0)
    done = simulate(tasks, cluster)
    total = sum(task.cost for task in tasks)
    assert (done.lost > 0) == (next(begun) > every)
    assert total + done.lost <= workers * done.makespan + 1e-9


def test_a_death_costs_what_was_done_the_restart_and_compiling():
    dies = iter([None, 0.5, None])
    cluster = Cluster(1, dies=lambda: next(dies), restart=7.0)
    done = simulate(tasks_of(10, 10), cluster, compiling=lambda program: 4.0)
    assert done.makespan == (4 + 10) + 5 + 7 + (4 + 10)
    assert (done.compiling, done.lost) == (8.0, 5.0)


def test_programs_on_disk_are_read_after_a_death():
    dies = iter([None, 0.5, None])
    cluster = Cluster(1, dies=lambda: next(dies), restart=7.0, reads=lambda program: 1.0)
    assert simulate(tasks_of(10, 10), cluster, compiling=lambda program: 4.0).makespan == 14 + 5 + 7 + 11


def test_the_slow_take_longer_and_get_less():
    done = simulate(tasks_of(*[1] * 50), Cluster(2, {0: 4.0}))
    assert done.makespan == 40.0  # four fifths by the other
    assert simulate(tasks_of(10), Cluster(1, {0: 4.0}), compiling=lambda program: 1.0).makespan == 44.0


def test_who_idles_takes_what_another_lost():
    dies = iter([None, 0.5, None])
    cluster = Cluster(2, dies=lambda: next(dies), restart=100.0)
    assert simulate(tasks_of(10, 10), cluster).makespan == 20.0
    dies = iter([0.5, None, None])
    assert simulate(tasks_of(10, 2), Cluster(2, dies=lambda: next(dies), restart=100.0)).makespan == 15.0


@given(tasks, st.integers(1, 6))
def test_simulations_are_the_same_each_time(tasks, workers):
    assert simulate(tasks, Cluster(workers)) == simulate(tasks, Cluster(workers))


def test_a_forecast_says_what_there_is_and_what_it_takes():
    tasks = tasks_of(*[60] * 12, program="p") + tasks_of(*[120] * 12, program="q", first=12)
    assert forecast(tasks, 4, "cpu", seconds=1.0).lines == (
        "24 jobs of 2 programs on 4 workers (cpu): about 9 min, at least 9 min (work / workers), "
        "longest job 2 min",
    )
    assert "about 11 min, at least 9 min" in forecast(tasks, 4, "cpu", seconds=1.0, compiling=60.0).lines[0]


def test_a_forecast_without_times_is_in_those_of_one_worker():
    assert forecast(tasks_of(*[5] * 8), 4, "H100").lines == (
        "8 jobs of 1 program on 4 workers (H100): 0.25 of one worker's time, at least 0.25 (work / workers), "
        "longest job 0.12",
    )


def test_a_forecast_says_who_has_nothing_to_do():
    found = forecast(tasks_of(50, 7000), 5, "cpu", seconds=2.0)
    assert found.lines == (
        "2 jobs of 1 program on 5 workers (cpu): about 3 h 53 min, at least 3 h 53 min (the longest job), "
        "longest job 3 h 53 min",
        "note: 3 of the workers have nothing to do",
    )
    assert found.seconds == 14000.0
    assert forecast([], 3, "cpu").lines == ("nothing is left to do",)

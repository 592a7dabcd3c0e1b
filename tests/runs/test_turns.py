import pytest

from nst_jax.errors import OutputError
from nst_jax.runs.leases import Leases
from nst_jax.runs.schedule import Task
from nst_jax.runs.turns import Turns


@pytest.fixture
def join(tmp_path):
    """A function that returns the turns of one more process, whose tasks are numbered by program and cost."""

    def join(tasks, done=(), seconds=60.0, said=None):
        left = {f"{n}": Task((n,), program, cost) for n, (program, cost) in enumerate(tasks)}
        say = pytest.fail if said is None else said.append
        return Turns(Leases(tmp_path, seconds), left, lambda name: name in done, say, "picture")

    return join


def never(tasks):
    return False


def stop(tasks):
    return True


def test_some_of_one_program_are_taken_at_once_and_in_order(join):
    tasks = [("a", 1.0), ("b", 1.0), ("a", 1.0), ("b", 1.0), ("a", 1.0)]
    asked = []

    def three(task, cost):
        asked.append((task.program, cost))
        return 3

    first, second = join(tasks), join(tasks)
    assert first.take(never, three) == ["0", "2", "4"]
    assert second.take(never, three) == ["1", "3"]
    assert asked == [("a", 5.0), ("b", 2.0)]


def test_what_was_given_up_is_left_to_others(join):
    done = set()
    first, second = join([("a", 1.0)] * 2, done), join([("a", 1.0)] * 2, done)
    assert first.take(never, lambda task, cost: 2) == ["0", "1"]
    first.give_up("0")
    done.add("1")
    first.leave("1", is_done=True)
    assert first.take(never) == []
    found = []
    assert second.take(lambda tasks: found.extend(tasks)) == ["0"]
    assert [task.numbers for task in found] == [(1,)]
    second.give_up("0")
    second.looked = float("-inf")
    assert second.take(never) == []


def test_what_others_are_at_is_waited_for(join, monkeypatch):
    done, said = set(), []
    first, second = join([("a", 1.0)], done), join([("a", 1.0)], done, said=said)
    assert first.take(never) == ["0"]

    def sleep(seconds):
        done.add("0")
        second.looked = float("-inf")

    monkeypatch.setattr("nst_jax.runs.turns.time.sleep", sleep)
    assert second.take(never) == []
    assert said == ["waiting for 1 picture that others paint"]


def test_work_that_is_stopped_gives_back_what_was_just_taken(join):
    done = {"0"}
    first, second = join([("a", 1.0)] * 2), join([("a", 1.0)] * 2, done)
    first.held.take("0")
    assert second.take(stop) == []
    assert first.take(never) == ["1"]


def test_a_folder_that_someone_removes(join, tmp_path):
    """Nobody waits forever for what cannot come."""
    join([("a", 1.0)]).take(never)
    late = join([("a", 1.0)], seconds=0.2, said=[])
    (tmp_path / "0.1").unlink()
    tmp_path.rmdir()
    with pytest.raises(OutputError, match="was removed before all was done"):
        late.take(never)

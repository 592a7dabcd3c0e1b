import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
from makers import AXES, paint_sweep, sweep_settings

from nst_jax import config
from nst_jax.errors import NstError, OutputError
from nst_jax.runs import gallery, leases, shared_folder, turns
from nst_jax.transfer import batch, plan

pytestmark = pytest.mark.usefixtures("world")


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def painted(folder):
    """Return the bytes of the cells; the folder's name is in them."""
    found = {name: data for name, data in tree(folder).items() if name.startswith("cells/")}
    return {name: data.replace(b"folder: " + folder.name.encode(), b"") for name, data in found.items()}


def left_over(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".state*"))


WORKER = """
import functools, json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from makers import NARROW
from nst_jax import config
from nst_jax.pretrained import files as weights
from nst_jax.runs import sweep
from nst_jax.transfer import batch, checkpoints
weights.read = functools.partial(weights.read, blocks=NARROW)
checkpoints.SAVE_SECONDS, checkpoints.SAVE_SHARE = 0.0, 1e9
name, end, lease = sys.argv[2], sys.argv[3], float(sys.argv[4])
real = batch._solve

def log(*words):
    with open(f"log.{name}", "a") as file:
        print(*words, file=file, flush=True)

def has_begun(name):
    return os.path.exists(f"log.{name}") and "begin" in Path(f"log.{name}").read_text()

def logged(grid, job):
    log("begin", *job.indexes)
    while not all(has_begun(other) for other in sys.argv[5:]):
        time.sleep(0.05)  # so that each of the others has something to leave
    seen = []
    tell = grid.tell
    def told(spent, *rest):
        if set(spent) & set(job.indexes) and not seen:
            seen.append(True)
            log("first", *spent.values())
        tell(spent, *rest)
        if end and sum(spent.values()) > 20:
            log("end")
            os.kill(os.getpid(), getattr(signal, end))
    grid.tell = told
    done = real(grid, job)
    grid.tell = tell
    log("done" if done else "lost", *job.indexes)
    return done

batch._solve = logged
outcome = sweep.run(config.load("shared.yaml"), shard="auto", lease=lease, say=functools.partial(log, "said"))
log("outcome", outcome.done, outcome.interrupted)
"""
"""A process with --shard auto that writes down what it is at. Arguments: the folder of the tests, its name,
the signal by which it ends itself in the middle of its first cell or nothing, the time of a lease, and the
names of those who must have begun before it paints."""


@pytest.fixture
def start():
    """A function that starts such a process."""
    begun = []

    def start(name, end="", lease=10.0, after=()):
        command = [
            sys.executable,
            "-c",
            WORKER,
            str(Path(__file__).parents[1]),
            name,
            end,
            str(lease),
            *after,
        ]
        begun.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process):
    """Return the exit code of a process, when it has one, and what it has said."""
    said = process.communicate(timeout=240)[1]
    return process.returncode, said


def logs(world, *names):
    return [line.split() for name in names for line in (world / f"log.{name}").read_text().splitlines()]


def eventually(is_so):
    for _ in range(2400):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def settings(folder, **changes):
    axes = [{"style.weight": [10.0, 1000.0]}, {"content.weight": [0.1, 1.0, 3.0, 10.0, 20.0]}]
    changes = {"axes": axes, "init": "noise", "solver": {"evaluations": 60}} | changes
    return sweep_settings(folder=folder, **changes).with_values({"sweep.max_parallel": 1})


@pytest.mark.timeout(300)
def test_of_four_processes_two_are_killed(world, start):
    paint_sweep(settings("one"))
    (world / "shared.yaml").write_text(config.to_yaml(settings("two")))
    doomed = [start(name, "SIGKILL") for name in "ab"]
    others = [start(name, after=("a", "b")) for name in "cd"]
    assert [ended(process) for process in doomed] == [(-signal.SIGKILL, "")] * 2
    assert [ended(process) for process in others] == [(0, "")] * 2
    killed = {words[1] for words in logs(world, *"ab") if words[0] == "begin"}
    begun = collections.Counter(words[1] for words in logs(world, *"abcd") if words[0] == "begin")
    assert begun == {str(i): 2 if str(i) in killed else 1 for i in range(10)}
    assert len(killed) == 2
    lines = logs(world, *"cd")
    assert [words for words in lines if words[0] == "lost"] == []
    assert sum(words[0] == "done" for words in lines) == 10
    assert [words[1:] for words in lines if words[0] == "outcome"] == [["10", "False"]] * 2
    firsts = [int(words[1]) for words in lines if words[0] == "first"]
    assert sum(first > 10 for first in firsts) == 2  # what the killed had saved was gone on with
    assert painted(world / "two") == painted(world / "one")
    assert tree(world / "two").keys() == tree(world / "one").keys()
    assert left_over(world / "two") == []


@pytest.mark.timeout(300)
def test_a_process_that_is_stopped_and_goes_on_does_no_harm(world, start):
    one, two = settings("one", axes=AXES), settings("two", axes=AXES)
    paint_sweep(one)
    (world / "shared.yaml").write_text(config.to_yaml(two))
    stopped = start("a", "SIGSTOP", lease=3.0)
    eventually(lambda: (world / "log.a").exists() and ["end"] in logs(world, "a"))
    outcome, said = paint_sweep(two, shard="auto", lease=3.0)
    assert (outcome.done, outcome.interrupted) == (6, False)
    assert outcome.collection.missing == ()
    assert said in (["waiting for 1 cell that others paint"], [])  # as long as the others took
    whole = {name: data for name, data in tree(world / "two").items() if not name.startswith(".state")}
    while stopped.poll() is None:
        stopped.send_signal(signal.SIGCONT)  # it stops itself at every look
        time.sleep(0.02)
    assert ended(stopped) == (0, "")
    lines = logs(world, "a")
    assert [words[0] for words in lines if words[0] in ("begin", "lost", "done")] == ["begin", "lost"]
    assert ["outcome", "6", "False"] in lines
    assert tree(world / "two") == whole
    assert left_over(world / "two") == []
    assert painted(world / "two") == painted(world / "one")


def test_one_process_alone_leaves_what_a_plain_call_does(world):
    paint_sweep(sweep_settings())
    whole = tree(world / "grid")
    os.rename(world / "grid", world / "kept")
    seen = []
    outcome, said = paint_sweep(sweep_settings(), shard="auto", callback=seen.append)
    assert (outcome.done, outcome.interrupted, said) == (6, False, [])
    assert outcome.collection.missing == ()
    assert tree(world / "grid") == whole
    assert (seen[-1].cells, seen[-1].done, seen[-1].evaluations) == (6, 6, 36)


def test_what_is_done_is_not_done_again(world, monkeypatch):
    paint_sweep(sweep_settings(), shard=(1, 2))
    (world / "grid" / "cells" / "0004.png").write_bytes(b"damaged")
    real, solved = batch._solve, []

    def counted(grid, job):
        solved.extend(job.indexes)
        return real(grid, job)

    monkeypatch.setattr(batch, "_solve", counted)
    outcome, _ = paint_sweep(sweep_settings(), shard="auto")
    assert (outcome.done, sorted(solved)) == (6, [1, 3, 4, 5])
    paint_sweep(sweep_settings(), shard="auto")
    assert len(solved) == 4


def test_threads_as_processes_share_batches(world, monkeypatch):
    """Two calls at once, in batches of two by the first one's plan."""
    values = {"sweep.lanes": "vmap", "sweep.max_parallel": 2}
    paint_sweep(sweep_settings().with_values(values))
    whole = tree(world / "grid")
    os.rename(world / "grid", world / "kept")
    real, solved, both = batch._solve, [], threading.Barrier(2)

    def counted(grid, job):
        if len(solved) < 2:
            solved.append(job.indexes)
            both.wait(120)
        else:
            solved.append(job.indexes)
        return real(grid, job)

    collect, collected = gallery.collect, []
    monkeypatch.setattr(batch, "_solve", counted)
    monkeypatch.setattr(gallery, "collect", lambda folder: collected.append(folder) or collect(folder))
    outcomes = []

    def work():
        chosen = sweep_settings().with_values(values)
        outcomes.append(paint_sweep(chosen, shard="auto", lease=60.0)[0])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(solved) == [(0, 1), (2, 3), (4, 5)]
    assert [outcome.done for outcome in outcomes] == [6, 6]
    assert len(collected) == 1
    assert outcomes[0].collection == outcomes[1].collection
    assert tree(world / "grid") == whole


def test_the_plan_of_the_first_is_everyones(world):
    """Whatever devices, memory and wishes they have."""
    chosen = {"sweep.lanes": "vmap", "sweep.max_parallel": 2}
    stop = {"callback": lambda progress: progress.done >= 2}
    assert paint_sweep(sweep_settings().with_values(chosen), shard="auto", **stop)[0].interrupted
    file = world / "grid" / ".state" / "auto" / "plan.json"
    assert json.loads(file.read_text())["0 of 6"] == 2
    other = sweep_settings().with_values(chosen | {"sweep.max_parallel": 3})
    solved = []
    paint_sweep(other, shard="auto", callback=lambda progress: solved.append(progress.done))
    assert set(solved) == {2, 4, 6}


def test_who_would_not_paint_batches_does_not_join_those_who_do(world):
    chosen = sweep_settings().with_values({"sweep.lanes": "vmap", "sweep.max_parallel": 2})
    paint_sweep(chosen, shard="auto", callback=lambda progress: progress.done >= 2)
    with pytest.raises(NstError, match=r"batches of 2 at once, this one none") as caught:
        paint_sweep(sweep_settings().with_values({"sweep.lanes": "threads"}), shard="auto")
    assert "\n" not in str(caught.value)


def test_ctrl_c_lets_others_go_on_at_once(world, monkeypatch):
    """They do not wait for the time of a lease, and go on from what was saved."""
    one = settings("one", axes=AXES)
    paint_sweep(one)
    two = one.with_values({"sweep.folder": "two"})
    stop = paint_sweep(two, shard="auto", callback=lambda progress: progress.evaluations > 80)[0]
    assert (stop.interrupted, stop.done) == (True, 1)
    states = [path.name for path in (world / "two" / ".state").rglob("*.npz")]
    assert len(states) == 1
    assert states[0].endswith(".1.npz")
    assert left_over(world / "two") == [".state"]
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: pytest.fail("waited"))
    seen = []
    outcome, said = paint_sweep(two, shard="auto", callback=lambda p: seen.append(p.evaluations))
    assert (outcome.done, said) == (6, [])
    assert seen[0] > 80
    assert painted(world / "two") == painted(world / "one")
    assert left_over(world / "two") == []


def test_what_a_thread_of_a_lost_job_keeps_is_its_own(tmp_path):
    held = leases.Leases(shared_folder.folder_of(tmp_path))
    job = plan.Job((7,), None)
    own = turns.Turns(held, {}, lambda name: False, print, "cell")
    queue = shared_folder._Queue(own, tmp_path, {})
    held.take("0007")
    first = queue.state_of(job)
    first.write_bytes(b"a state")
    assert queue.state_of(job) == first
    held.give_back("0007")
    held.take("0007")
    second = queue.state_of(job)
    assert second != first
    assert (second.read_bytes(), first.exists()) == (b"a state", False)
    first.write_bytes(b"of one who does not know yet that it was lost")
    assert queue.state_of(job).read_bytes() == b"a state"


def test_numbered_shards_and_auto_do_not_mix(world):
    paint_sweep(sweep_settings(), shard=(1, 3))
    states = world / "grid" / ".state"
    states.mkdir()
    with filelock.FileLock(states / "2-of-3.lock"):
        with pytest.raises(OutputError, match="a process without --shard auto is painting it"):
            paint_sweep(sweep_settings(), shard="auto")
        assert not (states / "auto").exists()
    with filelock.FileLock(states / "auto-0123abcd.lock"):
        with pytest.raises(OutputError, match="processes with --shard auto are painting it"):
            paint_sweep(sweep_settings(), shard=(3, 3))
        assert paint_sweep(sweep_settings(), shard="auto")[0].done == 6
    (states / "auto-0123abcd.lock").unlink()


def test_locks_of_the_killed_go(world):
    states = world / "grid" / ".state"
    states.mkdir(parents=True)
    for name in ("auto-0123abcd.lock", "auto-0123abcd.lock.owner", "1-of-2.lock"):
        (states / name).write_text("process 1 on moon")
    assert paint_sweep(sweep_settings(), shard="auto")[0].done == 6
    assert left_over(world / "grid") == []


def test_versions_are_not_mixed(world):
    paint_sweep(sweep_settings(), shard=(1, 2))
    path = world / "grid" / "sweep.json"
    path.write_text(path.read_text().replace('"jax": "', '"jax": "0.0.'))
    before = tree(world / "grid")
    with pytest.raises(OutputError, match=r"other versions, which are not mixed here: jax is") as caught:
        paint_sweep(sweep_settings(), shard="auto")
    assert "\n" not in str(caught.value)
    assert tree(world / "grid") == before
    assert left_over(world / "grid") == []


def test_a_folder_of_leases_that_cannot_be_made(world):
    (world / "grid" / ".state" / "auto").mkdir(parents=True)
    (world / "grid" / ".state" / "auto" / "leases").write_text("")
    with pytest.raises(OutputError, match="leases: cannot be made: File exists") as caught:
        paint_sweep(sweep_settings(), shard="auto")
    assert "\n" not in str(caught.value)


def test_a_fault_gives_the_job_back(world, monkeypatch):
    def broken(grid, job):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(batch, "_solve", broken)
        with pytest.raises(OutputError, match="full"):
            paint_sweep(sweep_settings(), shard="auto")
    outcome, said = paint_sweep(sweep_settings(), shard="auto")
    assert (outcome.done, said) == (6, [])


def test_who_comes_when_others_have_just_done_all(world, monkeypatch):
    """A call that has looked what is done, and then takes long to compile."""
    real, inner = batch.fitted, []

    def slow(*arguments):
        if not inner:
            inner.append(True)
            inner.append(paint_sweep(sweep_settings(), shard="auto")[0])
        return real(*arguments)

    monkeypatch.setattr(batch, "fitted", slow)
    seen = []
    outcome, said = paint_sweep(sweep_settings(), shard="auto", callback=seen.append)
    assert (outcome.done, outcome.interrupted, said) == (6, False, [])
    assert outcome.collection == inner[1].collection
    assert outcome.collection.missing == ()
    assert (seen[-1].done, seen[-1].evaluations) == (6, 36)
    assert left_over(world / "grid") == []

import collections
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
from makers import shallow

from nst_jax import config, images
from nst_jax.errors import ConfigError, OutputError
from nst_jax.runs import batch, batch_files, batch_turns, turns

pytestmark = pytest.mark.usefixtures("world")

COUNT = 12


@pytest.fixture(autouse=True)
def photos(world, random):
    """A folder of photographs of two sizes."""
    (world / "photos").mkdir()
    for number in range(COUNT):
        size = (30, 40) if number % 4 else (60, 20)
        images.write(world / f"photos/{number}.png", np.float32(random.uniform(size=(*size, 3))))


def settings(**changes):
    data = {"style": "art.png", "size": 24, "network": {"normalised": False}, "solver": {"evaluations": 6}}
    return config.load(base=shallow({"content": {}} | data | changes))


def paint(to="out", *, paths=("photos",), shard="auto", **options):
    said = []
    about = options.pop("about", settings())
    files = batch.photographs(paths)
    return batch.run(about, files, to, shard=shard, say=said.append, **options), said


def tree(folder="out"):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def alone():
    """Return what one process without others paints."""
    paint(shard=None)
    whole = tree()
    os.rename("out", "kept")
    return whole


WORKER = """
import functools, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from makers import NARROW
from nst_jax import config
from nst_jax.pretrained import files as weights
from nst_jax.runs import batch, batch_files, batch_turns, claims
weights.read = functools.partial(weights.read, blocks=NARROW)
name, is_doomed, lease, others = sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])

def log(*words):
    with open(f"log.{name}", "a") as file:
        print(*words, file=file, flush=True)

agree, paint, write = batch.agree, batch_turns.PainterInTurn._paint, batch_files.write
written = []

def agreed(held, root, made_by):
    agree(held, root, made_by)
    log("joined")
    while len(list(Path().glob("log.?"))) < others:
        time.sleep(0.05)

def begun(self, chunk, *rest):
    log("begin", *(job.output.name for job in chunk))
    while sum("begin" in log.read_text() for log in Path().glob("log.?")) < others:
        time.sleep(0.05)  # so that each has some
    return paint(self, chunk, *rest)

def wrote(job, files):
    written.append(job)
    if is_doomed and len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write(job, files)
    log("wrote", job.output.name)

batch.agree, batch_turns.PainterInTurn._paint, batch_files.write = agreed, begun, wrote
outcome = batch.run(
    config.load("my.yaml"), batch.photographs(["photos"]), "out", shard="auto", lease=lease, say=print
)
log("outcome", len(outcome.painted), len(outcome.elsewhere), len(outcome.skipped), outcome.left)
log("faults", *(fault.split(": ")[0] for fault in outcome.faults))
"""
"""A process that shares a batch and writes down what it is at. Arguments: the folder of the tests, its name,
whether it kills itself in place of its second picture, the time of a lease, and how many there are."""


def start(name, is_doomed="", lease=10.0, others=3):
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parents[1]), name, is_doomed, str(lease)]
    return subprocess.Popen([*command, str(others)], stderr=subprocess.PIPE, text=True)


def lines(*names):
    return [line.split() for name in names for line in Path(f"log.{name}").read_text().splitlines()]


@pytest.mark.timeout(300)
def test_of_three_processes_one_is_killed(world, random):
    """With a photograph that is cut off, a picture that is done, and one that was made of other pixels."""
    whole = alone()
    photo = (world / "photos" / "0.png").read_bytes()
    images.write("photos/0.png", np.float32(random.uniform(size=(60, 20, 3))))
    paint(shard=None, paths=["photos/0.png"])
    stale = Path("out/0.png").read_bytes()
    Path("photos/0.png").write_bytes(photo)
    shutil.copy("kept/1.png", "out/1.png")
    Path("photos/cut.png").write_bytes(photo[: len(photo) // 2])
    Path("my.yaml").write_text(config.to_yaml(settings()))

    processes = [start("a", "doomed"), start("b"), start("c")]
    ended = [process.communicate(timeout=240)[1] for process in processes]
    assert ended == ["", "", ""]
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0, 0]

    assert stale != whole["0.png"]
    assert tree() == whole  # and no hidden folder
    begun = collections.Counter(name for line in lines(*"abc") if line[0] == "begin" for name in line[1:])
    killed = {name for line in lines("a") if line[0] == "begin" for name in line[1:]}
    killed -= {name for line in lines("a") if line[0] == "wrote" for name in line[1:]}
    assert killed - {"cut.png"}
    assert begun.pop("cut.png") >= 2
    names = [f"{number}.png" for number in range(COUNT) if number != 1]
    assert begun == {name: 1 + (name in killed) for name in names}
    outcomes = [list(map(int, line[1:])) for line in lines(*"bc") if line[0] == "outcome"]
    assert [sum(numbers[:2]) for numbers in outcomes] == [len(names)] * 2
    assert [numbers[2:] for numbers in outcomes] == [[1, 0]] * 2
    assert [line[1:] for line in lines(*"bc") if line[0] == "faults"] == [["photos/cut.png"]] * 2
    assert all(line[0] != "begin" or len(line) <= 1 + 4 for line in lines(*"abc"))  # a third of what was left


def test_one_process_alone_paints_what_a_plain_call_does():
    whole, seen = alone(), []
    outcome, said = paint(callback=seen.append)
    assert (len(outcome.painted), outcome.elsewhere, outcome.left, said) == (COUNT, (), 0, [])
    assert tree() == whole
    assert (seen[-1].done, seen[-1].total, seen[-1].left) == (COUNT, COUNT, pytest.approx(0))
    outcome, said = paint()
    assert (len(outcome.skipped), outcome.painted) == (COUNT, ())
    assert tree() == whole


def test_ctrl_c_lets_others_go_on_at_once(monkeypatch):
    outcome, _ = paint(callback=lambda progress: progress.done >= 3)
    assert 3 <= len(outcome.painted) < COUNT
    assert outcome.left == COUNT - len(outcome.painted)
    assert all(name.endswith(".png") for name in tree())
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: pytest.fail("waited"))
    again, _ = paint()
    assert (len(again.skipped), len(again.painted)) == (len(outcome.painted), outcome.left)


def test_what_another_paints_meanwhile_is_not_painted_here(monkeypatch):
    """Two calls in one process, the second while the first is at pictures that it does not know of."""
    real, begun, inner = batch_turns.PainterInTurn._paint, [], []

    def watched(self, chunk, *rest):
        begun.extend(job.photograph for job in chunk)
        if not inner:
            inner.append(True)
            others = [f"photos/{n}.png" for n in range(COUNT) if f"photos/{n}.png" not in begun]
            inner.append(paint(paths=others)[0])
        return real(self, chunk, *rest)

    monkeypatch.setattr(batch_turns.PainterInTurn, "_paint", watched)
    seen = []
    outcome, _ = paint(callback=seen.append)
    assert len(begun) == len(set(begun)) == COUNT
    assert sorted(outcome.elsewhere) == sorted(inner[1].painted)
    assert len(outcome.painted) + len(outcome.elsewhere) == seen[-1].done == COUNT
    assert (outcome.left, outcome.faults) == (0, ())


def test_a_loss_that_is_not_finite_is_tried_once(exploding):
    about = settings(style={"image": "art.png", "weight": exploding})
    outcome, _ = paint(about=about)
    assert (len(outcome.faults), outcome.left, tree()) == (COUNT, 0, {})


def test_who_shares_and_who_does_not_do_not_mix(world):
    states = world / "out" / ".batch"
    states.mkdir(parents=True)
    half = world / "out" / ".3.png.01234567.partial"
    half.write_text("half")
    with (
        filelock.FileLock(states / "1-of-1.lock"),
        pytest.raises(OutputError, match="a process without --shard auto is painting it"),
    ):
        paint()
    with filelock.FileLock(states / "auto-0123abcd.lock"):
        with pytest.raises(OutputError, match="processes with --shard auto are painting it"):
            paint(shard=None)
        assert len(paint(paths=["photos/3.png"])[0].painted) == 1
        assert half.exists()  # which may be theirs
        with pytest.raises(
            OutputError, match="out: is being painted in other styles, or with other settings"
        ) as caught:
            paint(about=settings(solver={"evaluations": 7}))
        assert "\n" not in str(caught.value)
        images.write("art.png", np.zeros((30, 40, 3), np.float32))
        with pytest.raises(OutputError, match="out: is being painted in other styles"):
            paint()
    paint(paths=["photos/3.png"])
    assert list(tree()) == ["3.png"]


def test_without_locks_nothing_is_removed_that_may_be_of_others(world, monkeypatch):
    def acquire(self, timeout):
        raise NotImplementedError("no flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    (world / "out").mkdir()
    half = world / "out" / ".3.png.01234567.partial"
    half.write_text("half")
    assert len(paint()[0].painted) == COUNT
    assert half.exists()
    assert len(paint()[0].skipped) == COUNT
    with pytest.raises(OutputError, match=r"if none is at work, remove out/\.batch/auto$"):
        paint(about=settings(solver={"evaluations": 7}))
    shutil.rmtree("out/.batch/auto")
    assert len(paint(about=settings(solver={"evaluations": 7}))[0].painted) == COUNT


def test_other_shards_are_refused():
    with pytest.raises(ConfigError, match="--shard 1/4: a batch is shared by --shard auto"):
        paint(shard="1/4")


def test_a_lease_is_that_of_the_picture():
    job = batch_files.Job("a.png", ("art.png",), Path("out/sub/a.png"))
    found = batch_files.lease_of(job, Path("out"))
    assert found == batch_files.lease_of(batch_files.Job("b.png", (), Path("./out/sub/a.png")), Path("./out"))
    assert found != batch_files.lease_of(job, Path("out/sub"))
    assert found.isalnum()

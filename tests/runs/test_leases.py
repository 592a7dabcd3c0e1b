import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from nst_jax.errors import OutputError
from nst_jax.runs import leases
from nst_jax.runs.leases import Leases


@pytest.fixture
def clock(monkeypatch):
    """The time as processes that look at leases see it, in seconds; it stands still unless it is set."""
    now = [1000.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    return now


def standing(lease, name="0007"):
    return lease.stands([name])[name]


def eventually(is_so):
    for _ in range(600):
        if is_so():
            return True
        time.sleep(0.05)
    return False


def test_a_task_is_of_one_at_a_time(tmp_path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    assert standing(two) == "new"
    assert one.take("0007")
    assert standing(two) == "held"
    assert sorted(os.listdir(tmp_path)) == ["0007.1"]
    assert b"process" in (tmp_path / "0007.1").read_bytes()


def test_who_is_late_cannot_take_what_another_has_taken_meanwhile(tmp_path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    assert standing(one) == standing(two) == "new"
    assert (one.take("0007"), two.take("0007")) == (True, False)
    assert standing(two) == "held"


def test_a_lease_is_dead_after_its_time_and_not_before(tmp_path, clock):
    one, two = Leases(tmp_path, 60), Leases(tmp_path, 60)
    one.take("0007")
    assert standing(two) == "held"
    clock[0] += 59.9
    assert standing(two) == "held"
    clock[0] += 0.1
    assert standing(two) == "free"
    assert two.take("0007")
    assert two.generation("0007") == 2


def test_time_counts_from_when_one_has_looked_first(tmp_path, clock):
    one, two = Leases(tmp_path, 60), Leases(tmp_path, 60)
    one.take("0007")
    clock[0] += 10_000
    assert standing(two) == "held"


def test_a_sign_of_life_between_two_looks_keeps_a_lease(tmp_path, clock):
    two = Leases(tmp_path, 60)
    with Leases(tmp_path, 0.2) as one:
        one.take("0007")
        assert standing(two) == "held"
        before = (tmp_path / "0007.1").read_bytes()
        assert eventually(lambda: (tmp_path / "0007.1").read_bytes() not in (b"", before))
        clock[0] += 10_000
        assert standing(two) == "held"


def test_who_was_taken_over_knows_and_counts_no_more(tmp_path, clock):
    one, two, three = (Leases(tmp_path, 60) for _ in range(3))
    one.take("0007")
    assert not one.is_lost("0007", surely=True)
    standing(two), standing(three)
    clock[0] += 60
    assert standing(two) == standing(three) == "free"
    assert (two.take("0007"), three.take("0007")) == (True, False)
    assert not one.is_lost("0007")  # it has not looked yet
    before = (tmp_path / "0007.1").read_bytes()
    assert one.is_lost("0007", surely=True)
    assert one.is_lost("0007")
    one.give_back("0007")  # which is not one's any more
    assert (tmp_path / "0007.1").read_bytes() == before
    assert standing(three) == "held"
    assert not two.is_lost("0007", surely=True)


def test_what_was_lost_may_be_taken_again(tmp_path, clock):
    one, two = Leases(tmp_path, 60), Leases(tmp_path, 60)
    one.take("0007")
    standing(two)
    clock[0] += 60
    standing(two), two.take("0007")
    assert one.is_lost("0007", surely=True)
    one.give_back("0007")
    two.give_back("0007")
    assert standing(one) == "free"
    assert one.take("0007")
    assert one.generation("0007") == 3
    assert not one.is_lost("0007", surely=True)


def test_what_is_given_back_is_free_at_once(tmp_path, clock):
    one, two = Leases(tmp_path), Leases(tmp_path)
    one.take("0007")
    one.give_back("0007")
    assert standing(two) == "free"
    assert two.take("0007")
    assert standing(one) == "held"


def test_the_end_of_a_process_gives_back_what_it_holds(tmp_path):
    two = Leases(tmp_path)

    def work():
        with Leases(tmp_path) as one:
            assert all(map(one.take, ("0007", "0008", "0009")))
            one.end("0009")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert two.stands(["0007", "0008", "0009"]) == {"0007": "free", "0008": "free", "0009": "held"}


def test_half_a_file_is_of_somebody_until_its_time_is_over(tmp_path, clock):
    """As of one who was killed between making it and writing to it."""
    (tmp_path / "0007.1").write_bytes(b"")
    (tmp_path / "0008.1").write_bytes(b'{"free": tr')
    (tmp_path / "0009.1").write_bytes(b"[]")
    two = Leases(tmp_path, 60)
    names = ["0007", "0008", "0009"]
    assert set(two.stands(names).values()) == {"held"}
    clock[0] += 60
    assert set(two.stands(names).values()) == {"free"}


def test_of_many_threads_one_wins(tmp_path):
    every = [Leases(tmp_path) for _ in range(16)]
    for name in map(str, range(20)):
        barrier, won = threading.Barrier(len(every)), []

        def race(lease, name=name, barrier=barrier, won=won):
            barrier.wait()
            if lease.take(name):
                won.append(lease)

        threads = [threading.Thread(target=race, args=[lease]) for lease in every]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


RACING = """
import sys
from pathlib import Path
from nst_jax.runs.leases import Leases
mine = Leases(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*[name for name in map(str, range(300)) if mine.take(name)])
"""


def test_of_many_processes_one_wins(tmp_path):
    command = [sys.executable, "-c", RACING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for racer in racers:
        racer.stdout.readline()
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [name for racer in racers for name in racer.communicate(timeout=120)[0].split()]
    assert sorted(won, key=int) == list(map(str, range(300)))


def test_the_module_needs_no_jax():
    code = "import sys, nst_jax.runs.leases; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        with Leases(tmp_path, 2.0) as lease, lease.alone("plan") as is_there:
            inside.append(is_there)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_what_is_gone_is_waited_for_by_nobody(tmp_path):
    with Leases(tmp_path / "gone") as lease:
        with lease.alone("end") as is_there:
            assert not is_there
        assert lease.stands(["0007"]) == {"0007": "free"}
        with pytest.raises(OutputError, match=r"0007\.1: cannot be written: No such file"):
            lease.take("0007")


def test_a_lease_whose_file_is_gone_is_lost(tmp_path):
    lease = Leases(tmp_path)
    lease.take("0007")
    (tmp_path / "0007.1").unlink()
    assert lease.is_lost("0007", surely=True)
    lease.give_back("0007")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_what_the_file_system_refuses_is_one_line(tmp_path, monkeypatch, number):
    def refused(*arguments):
        raise OSError(number, os.strerror(number))

    lease = Leases(tmp_path)
    monkeypatch.setattr(leases.os, "open", refused)
    with pytest.raises(OutputError, match=rf"0007\.1: cannot be written: {os.strerror(number)}$"):
        lease.take("0007")
    monkeypatch.setattr(leases.os, "listdir", refused)
    with pytest.raises(OutputError, match=rf"cannot be read: {os.strerror(number)}$"):
        lease.stands(["0007"])


def test_a_stale_handle_is_tried_again(tmp_path, monkeypatch):
    lease = Leases(tmp_path)
    Leases(tmp_path).take("0007")
    real, stale = os.listdir, [True, True]

    def listed(folder):
        if stale:
            stale.pop()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(folder)

    monkeypatch.setattr(leases.os, "listdir", listed)
    assert standing(lease) == "held"
    stale.extend([True] * 9)
    with pytest.raises(OutputError, match=r"cannot be read: [Ss]tale"):
        standing(lease)


def test_a_drive_that_is_away_for_a_moment_loses_no_lease(tmp_path, monkeypatch):
    lease = Leases(tmp_path)
    lease.take("0007")
    real = os.open
    monkeypatch.setattr(leases.os, "open", lambda *a: (_ for _ in ()).throw(OSError(errno.EIO, "away")))
    assert not lease.is_lost("0007", surely=True)
    monkeypatch.setattr(leases.os, "open", real)
    assert not lease.is_lost("0007", surely=True)

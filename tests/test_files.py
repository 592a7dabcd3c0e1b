import errno
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import filelock
import pytest

from nst_jax import files
from nst_jax.errors import OutputError


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.bin"
    files.write_atomically(path, b"one")
    files.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.bin: cannot be written: No space left on device"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_an_interrupt_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


class UnexpectedError(Exception):
    pass


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (UnexpectedError, UnexpectedError),
        (KeyboardInterrupt, KeyboardInterrupt),
        (OSError(28, "No space"), OutputError),
    ],
)
@pytest.mark.parametrize("before", [b"old", None])
def test_what_is_raised_while_writing_leaves_what_was_there(tmp_path, raised, seen, before):
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)

    def write():
        with files.replacing(path) as file:
            file.write(b"half of the new")
            raise raised

    with pytest.raises(seen):
        write()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"a.bin": before} if before else {})


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with files.replacing(path) as file:
        file.write(b"one, ")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b"two")
        file.seek(0)
        file.write(b"ONE")
    assert path.read_bytes() == b"ONE, two"


def test_an_error_without_a_number_keeps_its_words(tmp_path):
    with pytest.raises(OutputError, match="10 requested and 3 written"), files.replacing(tmp_path / "a.npz"):
        raise OSError("10 requested and 3 written")  # as NumPy may say


def test_no_folder(tmp_path):
    with pytest.raises(OutputError, match="No such file or directory"):
        files.write_atomically(tmp_path / "nowhere" / "a.bin", b"")
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="Not a directory"):
        files.write_atomically(tmp_path / "a" / "a.bin", b"")


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_threads_leave_the_umask_alone(tmp_path, monkeypatch):
    """Two that set and restore it at once would leave it at 0, and all later files open to everybody."""
    set_umask = os.umask

    def slow_umask(mask):
        before = set_umask(mask)
        time.sleep(0.001)
        return before

    before = set_umask(0o027)
    monkeypatch.setattr(os, "umask", slow_umask)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda i: files.write_atomically(tmp_path / f"{i}", b"x"), range(40)))
    finally:
        after = set_umask(before)
    assert after == 0o027
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o640}


def test_cache_folder_can_be_set(monkeypatch, tmp_path):
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.delenv("NST_JAX_CACHE")
    assert files.cache_folder().name == "nst_jax"


NO_LOCKS = [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")]


@pytest.mark.parametrize("problem", NO_LOCKS)
def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch, problem):
    def acquire(self, timeout):
        raise problem

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with files.locked(tmp_path / "lock", "busy") as is_held:
        assert not is_held
    assert list(tmp_path.iterdir()) == []


def test_a_lock_says_whose_it_is_and_ends_with_its_block(tmp_path):
    path, whose = tmp_path / "lock", f"^here: process {os.getpid()} on"
    with files.locked(path, "here") as is_held:
        assert is_held
        with pytest.raises(files.LockedError, match=whose), files.locked(path, "here"):
            pass
        assert path.exists()
    assert list(tmp_path.iterdir()) == []


def test_room_is_told_in_a_line(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    files.check_room(tmp_path, free // 2, "a film", "free some")
    with pytest.raises(
        OutputError, match=r"^a film needs .* GiB of the disk of .*, which has .*: free some$"
    ):
        files.check_room(tmp_path, 2**60, "a film", "free some")
    with pytest.raises(OutputError, match="nowhere: cannot be written"):
        files.check_room(tmp_path / "nowhere", 1, "a film", "free some")

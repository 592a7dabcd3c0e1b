import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
from jax._src.lru_cache import LRUCache  # what JAX keeps programs with, which has no public name

from nst_jax import __main__ as entry
from nst_jax.cli import process


def test_a_second_signal_ends_the_work_at_once(capsys):
    with process.interruptible("the picture") as interruption:
        interruption.has_begun = True
        signal.raise_signal(signal.SIGTERM)
        assert interruption
        assert interruption.code == 143
        with pytest.raises(process.StoppedError) as stopped:
            signal.raise_signal(signal.SIGHUP)
    assert stopped.value.number == signal.SIGHUP
    assert "saving the picture; a second signal is to stop at once" in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_so():
    """As under nohup, or for Ctrl-C in a job in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.interruptible("") as interruption:
            interruption.has_begun = True
            signal.raise_signal(signal.SIGHUP)
            assert not interruption
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("cache", ["/dev/null", "file", "missing/deep"])
def test_a_cache_that_cannot_be_is_said_once(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_MAX_SIZE", raising=False)
    monkeypatch.setenv("NST_JAX_CACHE", cache)
    monkeypatch.setattr(process.library, "begin", lambda: None)
    with warnings.catch_warnings():
        process.prepare_process()
    said = capsys.readouterr().err
    possible = cache == "missing/deep"
    assert ("JAX_COMPILATION_CACHE_DIR" in os.environ) == possible
    assert said.count("\n") == (0 if possible else 1)
    assert os.environ.get("JAX_COMPILATION_CACHE_MAX_SIZE") == (str(2**30) if possible else None)


def test_programs_are_kept_beside_those_of_a_version_without_a_bound(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    LRUCache(str(folder), max_size=-1).put("old", b"without a bound")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(process.library, "begin", lambda: None)
    with warnings.catch_warnings():
        process.prepare_process()
    bounded = LRUCache(str(folder), max_size=30)
    bounded.put("new", b"with one")
    assert (bounded.get("old"), bounded.get("new")) == (b"without a bound", b"with one")
    time.sleep(0.01)  # its clock is coarse
    bounded.get("new")
    bounded.put("newest", b"with one")
    assert (bounded.get("old"), bounded.get("new")) == (None, b"with one")


def test_a_kind_of_device_that_is_not_here_is_one_line(world):
    command = [sys.executable, "-m", "nst_jax", "--content", "photo.png", "--style", "art.png"]
    environment = os.environ | {"JAX_PLATFORMS": "tpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("nst-jax: JAX_PLATFORMS=tpu: JAX has no such device here; allowed: cpu")
    assert done.stderr.count("\n") == 1


def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost(capsys):
    class Garbage:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    begun = time.monotonic()
    with process.interruptible(""):
        Garbage()
        with pytest.raises(process.StoppedError):
            time.sleep(30)
    assert time.monotonic() - begun < 20
    assert capsys.readouterr().err == ""


class BegunAnewError(Exception):
    """The process would be another one now."""


@pytest.fixture
def system(monkeypatch):
    """A Linux that hands out large pages to who asks for them, and another program that is begun in vain."""

    def execv(*given):
        raise BegunAnewError(*given)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(os, "confstr", {"CS_GNU_LIBC_VERSION": "glibc 2.36"}.get, raising=False)
    monkeypatch.setattr(entry.Path, "read_text", lambda path: "always [madvise] never\n")
    monkeypatch.setattr(entry, "main", lambda: None)
    monkeypatch.setattr(os, "environ", {"HOME": "/"})


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("before", ["", "glibc.malloc.perturb=3"])
def test_a_process_begins_anew_to_have_large_pages(monkeypatch, before):
    monkeypatch.setattr(os, "environ", os.environ | ({"GLIBC_TUNABLES": before} if before else {}))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "nst_jax", "--size", "64"])
    with pytest.raises(BegunAnewError) as begun:
        entry.start()
    assert begun.value.args == (
        sys.executable,
        [sys.executable, "-X", "dev", "-m", "nst_jax", "--size", "64"],
    )
    assert os.environ["GLIBC_TUNABLES"].split(":") == [*filter(None, [before]), "glibc.malloc.hugetlb=1"]
    del os.environ["GLIBC_TUNABLES"]  # as where a system takes such variables away
    entry.start()


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda patch: patch.setattr(sys, "platform", "darwin"),
        lambda patch: patch.setattr(sys, "executable", ""),
        lambda patch: patch.setattr(os, "confstr", lambda name: None),  # musl
        lambda patch: patch.setattr(os, "confstr", lambda name: "glibc 2.34"),
        lambda patch: patch.setattr(entry.Path, "read_text", lambda path: "[always] madvise never"),
        lambda patch: patch.setattr(entry.Path, "read_text", lambda path: (path / "none").read_bytes()),
        lambda patch: patch.setitem(os.environ, "GLIBC_TUNABLES", "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_process_goes_on_where_it_has_them_or_cannot_have_them(monkeypatch, spoil):
    spoil(monkeypatch)
    entry.start()


def test_a_process_that_begins_anew_says_the_same():
    run = lambda env: subprocess.run(
        [sys.executable, "-m", "nst_jax", "--size", "x"], capture_output=True, text=True, env=env, check=False
    )
    plain = {name: os.environ[name] for name in os.environ if name not in ("GLIBC_TUNABLES", entry.BEGUN)}
    anew, once = run(plain), run(plain | {entry.BEGUN: "1"})
    assert (anew.returncode, anew.stdout, anew.stderr) == (once.returncode, once.stdout, once.stderr)
    assert anew.returncode == 2

import contextlib
import dataclasses
import functools
import gc
import os
import signal
from pathlib import Path

import browsers
import jax
import numpy as np
import pytest
from hypothesis import settings
from makers import NARROW

from nst_jax import images
from nst_jax.native import library
from nst_jax.networks import convolution, vgg
from nst_jax.pretrained import files as weights
from nst_jax.transfer import memory
from nst_jax.transfer.program import forget_compiled

jax.config.update("jax_numpy_rank_promotion", "raise")

# Most of the time goes to compiling: each program is compiled once for all workers, processes and later runs.
# The key holds the program and the compiler's version, so that no other can be taken for it.
PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "programs"
os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(PROGRAMS), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
jax.config.update("jax_compilation_cache_dir", str(PROGRAMS))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

# So are the operations in C++; tests have a cache folder each that knows of it.
OPERATIONS = PROGRAMS.parent / "operations" / "native"
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("NST_JAX_CACHE", str(OPERATIONS.parent))
    library.compiled()

settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")


# LLVM's optimisations take a third of that time, and are not what is tested here. With XLA_FLAGS given, even
# empty, they are made.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.fixture(autouse=True)
def _own_world(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache, or downloads; signals are heard, under nohup too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    cache = tmp_path_factory.getbasetemp().parent / "nst_jax_cache"
    cache.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (cache / "native").symlink_to(OPERATIONS)
    monkeypatch.setenv("NST_JAX_CACHE", str(cache))
    monkeypatch.setattr("nst_jax.pretrained.downloads.PATIENCE", 1.0)


MAPS, MANY = Path("/proc/self/maps"), 20_000
"""Pieces of memory of this process, of which Linux allows 65530: every compiled program has some."""


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Programs of earlier modules are let go of, before a worker has so many that the next one crashes it."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY:
        forget_compiled()
        gc.collect()


@pytest.fixture(scope="session")
def narrow():
    return vgg.random_params(jax.random.key(1), blocks=NARROW)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_weights():
    path = os.environ.get("NST_JAX_WEIGHTS")
    if not path or not os.path.exists(path):
        pytest.skip("needs real VGG-19 weights in $NST_JAX_WEIGHTS")
    return path


@pytest.fixture
def direct(monkeypatch):
    """Wide layers are convolved directly: Winograd's programs take long to compile; they have their tests."""
    monkeypatch.setattr(convolution, "NARROWEST", {})


EXPLODING = 666.0


@pytest.fixture
def exploding(monkeypatch):
    """A style weight with which the loss is no finite number; settings refuse those that are."""
    real = memory.as_float32

    def broken(weights):
        found = real(weights)
        return dataclasses.replace(found, style=np.float32(np.inf)) if found.style == EXPLODING else found

    monkeypatch.setattr(memory, "as_float32", broken)
    return EXPLODING


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, where there is one."""
    found = browsers.started(tmp_path_factory.mktemp("profile"))
    yield found
    found.quit()


@pytest.fixture
def world(tmp_path, monkeypatch, narrow, random):
    """A folder with two pictures and a narrow network, in which runs take a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "read", functools.partial(weights.read, blocks=NARROW))
    weights.write(tmp_path / "narrow.h5", narrow, source="test", sha256="", licence="CC0")
    monkeypatch.setenv("NST_JAX_WEIGHTS", str(tmp_path / "narrow.h5"))
    images.write(tmp_path / "photo.png", np.float32(random.uniform(size=(30, 40, 3))))
    images.write(tmp_path / "art.png", np.float32(random.uniform(size=(25, 25, 3))))
    return tmp_path

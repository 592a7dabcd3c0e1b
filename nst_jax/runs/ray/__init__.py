"""The machines of a Ray cluster as painters: a worker on each device, of Ray's Core alone.

This process poses the problems, says who solves which next, and stores the files that come back: no folder is
shared. A worker that dies is started again by Ray, and what it was at is given out again. Once this process
ends, however it does, so do its workers.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from nst_jax.errors import ConfigError
from nst_jax.runs import painting
from nst_jax.runs.ray.crew import Crew
from nst_jax.runs.ray.work import Work
from nst_jax.typing import Json

PATIENCE = 9.0
"""Seconds within which a cluster must answer."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Read when Ray is imported. The latter are messages of the cluster, which it would print among ours."""


@contextlib.contextmanager
def cluster(
    address: str = "", *, workers: int | None = None, say: Callable[[str], None] = print
) -> Iterator[painting.Paint]:
    """Connect to a Ray cluster and give what paints on it; at the end its workers are gone.

    To be entered before JAX is imported: this process needs a CPU only, and what ``$JAX_PLATFORMS`` names is
    meant for the workers. Without it they are on GPUs if there are any.

    Args:
        address: ``HOST:PORT``; ``auto``: a cluster that this machine is a node of; ``local``: one that is
            started for as long as it is needed; empty: ``auto`` if there is one, else ``local``.
        workers: so many at most; None: one on each GPU, or on each node where there is none.
        say: told what the user should know.

    Raises:
        NstError: Ray is not installed, there is no such cluster, or none that can be worked with.
    """
    with _crew(address, workers) as crew:
        yield lambda problems, *, encoders, store, finished, how, watch: Work(
            crew, problems, encoders, store, how, watch, say
        ).run(finished)


def devices(address: str = "", *, workers: int | None = None) -> tuple[int, str]:
    """Return how many workers a cluster has room for, and on what: ``gpu`` or ``cpu``; see `cluster`."""
    with _crew(address, workers) as crew:
        return crew.room, "gpu" if crew.has_gpus else "cpu"


@contextlib.contextmanager
def _crew(address: str, workers: int | None) -> Iterator[Crew]:
    kind = os.environ.get("JAX_PLATFORMS", "")
    ray = _connected(address)
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        crew = Crew(ray, kind, workers)
        try:
            yield crew
        finally:
            crew.dismiss()
    finally:
        ray.shutdown()
        os.environ.pop("JAX_PLATFORMS")
        os.environ |= {"JAX_PLATFORMS": kind} if kind else {}


def _connected(address: str) -> Json:
    """Return the library, connected to a cluster."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs Ray: pip install 'nst_jax[ray]'") from None
    if not address:
        address = "auto" if _answers() else "local"
    elif address == "auto" and not _answers():
        raise ConfigError("--ray auto: this machine is no node of a Ray cluster; give HOST:PORT, or local")
    elif address not in ("auto", "local"):
        _check(address)
    options: dict[str, Json] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        options |= {"num_cpus": cores, "include_dashboard": False}
    try:
        with _own_signals():
            ray.init(**options)
    except (RuntimeError, ValueError, OSError) as error:  # other versions of Ray, Python, ...
        raise ConfigError(f"--ray {address}: {' '.join(str(error).split())}") from None
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, in place of which Ray sets its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check(address: str) -> None:
    """Refuse an address at which there is no cluster."""
    host, colon, port = address.rpartition(":")
    if "://" in address:
        raise ConfigError(f"--ray {address}: is of Ray's client; use HOST:PORT on a node, or ray job submit")
    if not (host and colon and port.isdecimal()):
        raise ConfigError(f"--ray {address}: should be HOST:PORT, auto or local, and come last")
    why = f"nothing answers within {PATIENCE:.0f} s"
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE / 3).close()
        if _answers(address, PATIENCE * 2 / 3):
            return
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
    raise ConfigError(f"--ray {address}: there is no Ray cluster: {why}")


def _answers(address: str = "", patience: float = PATIENCE) -> bool:
    """Tell whether a cluster answers; another process asks, for `ray.init` would wait for minutes.

    Raises:
        ConfigError: it does, and wants a token.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    command += ["--address", address] if address else []
    try:
        done = subprocess.run(command, capture_output=True, timeout=patience)
    except subprocess.TimeoutExpired:
        return False
    if b"AuthenticationError" in done.stderr:
        where = "RAY_AUTH_TOKEN, or in ~/.ray/auth_token"
        raise ConfigError(f"--ray {address}: the cluster wants RAY_AUTH_MODE=token, and its token in {where}")
    return not done.returncode

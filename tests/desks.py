"""Desks of small runs, for the tests of the studio."""

import contextlib
import threading
import time
from pathlib import Path

from makers import LAYERS

from nst_jax import config
from nst_jax.studio.desk import Desk

QUICK = {
    "content": {"image": "photo.png", "layers": LAYERS["content"]},
    "style": {"image": "art.png", "layers": LAYERS["style"]},
    "size": 24,
    "network": {"normalised": False},
    "solver": {"evaluations": 6},
    "pyramid": {"levels": 1},
}


def settings(values=None):
    return config.load(base=QUICK).with_values(values or {})


@contextlib.contextmanager
def at_work(values=None):
    """Give a desk that paints what is put into its queue."""
    found = Desk(settings(values), Path("studio"))
    worker = threading.Thread(target=found.work, args=(0.01,))
    worker.start()
    try:
        yield found
    finally:
        found.close()
        worker.join(120)
    assert not worker.is_alive()


def until(what, seconds=120.0):
    """Wait for something to be so, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)
    return found

import base64
import io
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from nst_jax import errors, notebook
from nst_jax.settings import Settings

IPython = pytest.importorskip("IPython")

QUICK = Settings().with_values(
    {
        "content.layers": ["conv2_2"],
        "style.layers": ["conv1_1"],
        "solver.evaluations": 8,
        "network.normalised": False,
        "pyramid.levels": 1,
    }
)


class Shown:
    """What a notebook shows: the data of each place, by its id."""

    def __init__(self):
        self.places = {}
        self.updates = 0

    def publish(self, data, metadata=None, *, transient=None, update=False, **rest):
        self.places[transient["display_id"]] = data
        self.updates += update


@pytest.fixture
def shown(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell, found = InteractiveShell.instance(), Shown()
    monkeypatch.setattr(shell, "display_pub", found, raising=False)
    yield found
    InteractiveShell.clear_instance()


@pytest.fixture
def pair(random):
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(25, 25, 3)))


def test_picture_and_curve_stay_in_their_places(world, pair, shown, monkeypatch):
    monkeypatch.setattr(notebook, "SECONDS", 0.0)
    result = notebook.watch(*pair, QUICK)
    assert result.status == "finished"
    assert len(shown.places) == 2
    assert shown.updates > 2
    (picture,) = (data["image/png"] for data in shown.places.values() if "image/png" in data)
    (curve,) = (data["image/svg+xml"] for data in shown.places.values() if "image/svg+xml" in data)
    last = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    np.testing.assert_array_equal(last, np.floor(result.image * 255 + 0.5))
    assert "8 of 8 evaluations" in curve
    assert "polyline" in curve


def test_interrupting_the_kernel_gives_the_picture_so_far(world, pair, shown):
    def interrupt(progress):
        if progress.evaluations == 1:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    result = notebook.watch(*pair, QUICK, callback=interrupt, seed=1)
    assert (result.status, result.evaluations) == ("interrupted", 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_callback_may_end_it(world, pair, shown):
    assert notebook.watch(*pair, QUICK, callback=lambda progress: True).status == "interrupted"


def test_without_ipython_it_says_so(world, pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(errors.NstError, match="pip install ipython"):
        notebook.watch(*pair, QUICK)

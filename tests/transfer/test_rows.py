import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nst_jax.errors import SettingError
from nst_jax.losses.gram import Gram
from nst_jax.losses.sliced import Sliced
from nst_jax.settings import Settings
from nst_jax.transfer import rows

EIGHT = [SimpleNamespace() for _ in range(8)]


def test_eight_devices_paint_one_picture_as_one_does_and_nothing_is_gathered():
    """On eight devices that are one CPU; the first level, too small to be divided, is on one of them."""
    code = textwrap.dedent(
        """
        import sys, jax, numpy as np
        sys.path.insert(0, sys.argv[1])
        from makers import NARROW
        from problems import network_of, problem, solve
        from nst_jax.networks import vgg
        from nst_jax.transfer import memory, pyramid, rows
        from nst_jax.transfer.program import compiled
        from nst_jax.transfer.targets import targets_of
        network = network_of(vgg.random_params(jax.random.key(1), blocks=NARROW))
        random = np.random.default_rng(0)
        pair = np.float32(random.uniform(size=(256, 48, 3))), np.float32(random.uniform(size=(140, 128, 3)))
        layers = {"content.layers": ("conv4_2",), "style.layers": ("conv1_1", "conv3_1", "conv5_1")}
        values = layers | {"solver.evaluations": 8, "loss.total_variation": 1e-3}
        one, many = (problem(pair, network, values | {"devices": each}) for each in ("one", "rows"))
        assert many.program.is_by_rows and len(jax.local_devices()) == 8
        text = compiled(many.program, memory.shapes_of(many)).as_text()
        assert "collective-permute" in text and "all-reduce" in text
        assert "all-gather" not in text and "all-to-all" not in text
        compared = targets_of(many, rows.whole(many.prepared(), rows.devices()))
        assert not compared.content["conv4_2"].sharding.is_fully_replicated
        alone, shared = solve(one), solve(many)
        assert abs(alone.loss - shared.loss) < 1e-4 * alone.loss
        np.testing.assert_allclose(shared.image, alone.image, atol=1e-4)
        values |= {"devices": "rows", "pyramid.levels": 2, "pyramid.factor": 1.5}
        several = problem(pair, network, values)
        assert [level.program.is_by_rows for level in pyramid.levels(several)] == [False, True]
        assert solve(several).status == "finished"
        """
    )
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("values", "term", "height", "message"),
    [
        (
            {},
            Gram(),
            300,
            "should be a multiple of 128, is 300: use a size of about 512, for a height of 256",
        ),
        ({}, Gram(), 100, "a picture 100 pixels high has less than 16 rows for each of 8 devices"),
        ({}, Sliced(), 256, "rows is for style.kind gram, moments or w2"),
        ({"content.kind": "self_similarity"}, Gram(), 256, "content.kind features"),
        ({"solver.kind": "adam", "solver.carry": True}, Gram(), 256, "or adam without carry"),
        ({"solver.history_on": "disk"}, Gram(), 256, "solver.history_on disk is for one device"),
        ({"solver.kind": "lbfgsb"}, Gram(), 256, "rows is for solver.kind lbfgs, or adam"),
    ],
)
def test_pictures_that_cannot_be_divided(values, term, height, message):
    with pytest.raises(SettingError, match=message):
        rows.check(Settings().with_values(values), term, (height, 2 * height, 3), EIGHT)


def test_one_device_has_all_rows():
    assert not rows.are_possible(256, EIGHT[:1])
    rows.check(Settings(), Gram(), (300, 200, 3), EIGHT[:1])
    assert rows.are_possible(256, EIGHT)
    assert np.prod([rows.are_possible(height, EIGHT) for height in (128, 384)])

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from nst_jax.errors import NstError
from nst_jax.transfer import hosts

CODE = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    import jax, numpy as np
    from nst_jax.transfer import hosts
    where, index = sys.argv[2], int(sys.argv[3])
    if where:
        hosts.join(where, 2, index)
    from makers import NARROW
    from problems import network_of, problem, solve
    from nst_jax.errors import NstError
    from nst_jax.networks import vgg
    from nst_jax.transfer import memory, pyramid, rows
    from nst_jax.transfer.checkpoints import Checkpoint
    from nst_jax.transfer.program import compiled
    assert len(rows.devices()) == 4 and hosts.count() == (2 if where else 1)
    if where:
        odd = np.float32([-0.0, np.nan, 1e-45, index]), np.asarray(7 + index)
        found = hosts.agreed(odd)
        assert found[0].tobytes() == np.float32([-0.0, np.nan, 1e-45, 0]).tobytes() and found[1] == 7
        assert hosts.every("ä" * index) == ["", "ä"] and hosts.gathered(index) == [0, 1]
        assert hosts.least([2**40 + index, -index]) == [2**40, -1]
        assert hosts.most([2**40 + index, -index]) == [2**40 + 1, 0]
        assert hosts.told_text(str(index)) == "0" and hosts.told(-5 - index) == -5
        taken = []
        take = lambda: taken.append(1)
        assert hosts.led(lambda snapshot: index or snapshot() or False, take) is False and taken == [1]
        assert hosts.led(lambda snapshot: index == 1, take) is True
    network = network_of(vgg.random_params(jax.random.key(1), blocks=NARROW))
    random = np.random.default_rng(0)
    pair = np.float32(random.uniform(size=(128, 48, 3))), np.float32(random.uniform(size=(70, 64, 3)))
    values = {"solver.evaluations": 12, "loss.total_variation": 1e-3, "devices": "rows"}
    many = problem(pair, network, values)
    text = compiled(many.program, memory.shapes_of(many)).as_text()
    assert "collective-permute" in text and "all-reduce" in text
    assert "all-gather" not in text and "all-to-all" not in text
    done = solve(many)
    early = solve(problem(pair, network, values | {"solver.evaluations": 6}))
    values |= {"solver.evaluations": 3, "pyramid.levels": 2, "pyramid.factor": 1.5}
    several = problem(pair, network, values)
    assert [level.program.is_by_rows for level in pyramid.levels(several)] == [False, True]
    grown = solve(several)
    if index == 0:
        np.savez(sys.argv[4], image=done.image, loss=early.loss, grown=grown.image)
    if where:
        try:
            with hosts.together():
                if index:
                    raise NstError("no")
        except NstError as error:
            assert str(error) == ("no" if index else "host 1: no"), error
        else:
            raise AssertionError
        assert hosts.count() == 1
    """
)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def begun(where, index, file, devices):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", CODE, str(Path(__file__).parents[1]), where, str(index), str(file)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_two_hosts_paint_what_one_does(tmp_path):
    """Two processes of two devices against one of four: the same program, so the same numbers."""
    where = f"127.0.0.1:{free_port()}"
    both = [begun(where, index, tmp_path / "two.npz", 2) for index in (0, 1)]
    one = begun("", 0, tmp_path / "one.npz", 4)
    for process in (*both, one):
        error = process.communicate(timeout=280)[1]
        assert process.returncode == 0, error[-3000:]
    alone, shared = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert abs(alone["loss"] - shared["loss"]) <= 1e-5 * alone["loss"]
    np.testing.assert_allclose(shared["image"], alone["image"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(shared["grown"], alone["grown"], rtol=0, atol=1e-5)


def test_alone_there_is_nothing_to_agree_upon():
    array = np.ones((2, 3, 4, 5))
    assert hosts.count() == 1
    assert hosts.is_first()
    assert hosts.agreed(array) is array
    assert [piece.shape for piece in hosts.pieces(array)] == [array.shape]
    assert hosts.led(lambda take: take(), lambda: "seen") == "seen"
    with pytest.raises(NstError, match="mine"), hosts.together():
        raise NstError("mine")
    with pytest.raises(RuntimeError, match="Gloo"), hosts.reached():
        raise RuntimeError("Gloo")

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import WEIGHTS, grid, problem, solve, solve_all

from nst_jax.errors import NstError, OutputError
from nst_jax.solvers import streamed
from nst_jax.transfer import batch, checkpoints, loop, machine, memory, plan, targets
from nst_jax.transfer.problem import HISTORY
from nst_jax.transfer.program import compiled, nbytes
from nst_jax.transfer.stylize import network_for


def alone(pair, network, weight, values=None, **changes):
    return solve(problem(pair, network, {"style.weight": weight} | (values or {}), **changes))


def same(a, b):
    """Tell whether two grids' results and curves are the same bits."""
    assert a.keys() == b.keys()
    return all(
        np.array_equal(a[i][0].image, b[i][0].image) and a[i][0].loss == b[i][0].loss and a[i][1] == b[i][1]
        for i in a
    )


@pytest.mark.parametrize("changes", [{}, {"solver.kind": "adam"}, {"solver.linesearch": "zoom"}])
def test_a_problem_on_a_thread_is_bit_for_bit_the_run_alone(pair, network, changes):
    found, whole = solve_all(grid(pair, network, changes, weights=WEIGHTS[:3]), mode="threads")
    assert whole
    for index, weight in enumerate(WEIGHTS[:3]):
        result, curve = found[index]
        expected = alone(pair, network, weight, changes)
        np.testing.assert_array_equal(result.image, expected.image)
        assert (result.loss, result.terms, result.status) == (expected.loss, expected.terms, expected.status)
        assert (result.initial_loss, result.evaluations) == (expected.initial_loss, expected.evaluations)
        assert curve[-1] == {
            "evaluations": result.evaluations,
            "loss": result.loss,
            "terms": result.terms,
        }


def test_problems_of_a_batch_are_the_runs_alone(pair, network):
    """To rounding at first; that L-BFGS then magnifies, so late losses agree less than early ones."""
    found, _ = solve_all(grid(pair, network), mode="vmap")
    for index, weight in enumerate(WEIGHTS):
        expected = alone(pair, network, weight)
        assert found[index][0].initial_loss == pytest.approx(expected.initial_loss, rel=1e-5)
        assert found[index][0].loss == pytest.approx(expected.loss, rel=1e-3)
        np.testing.assert_allclose(found[index][0].image, expected.image, atol=2e-3)


def compilations(caplog, function=""):
    return [r for r in caplog.messages if r.startswith(f"Finished XLA compilation of jit({function}")]


def test_one_compilation_for_twenty_cells_and_none_for_other_values(network, random, caplog):
    pair = (np.float32(random.uniform(size=(22, 26, 3))), np.float32(random.uniform(size=(20, 20, 3))))

    def cells(*ratios):
        names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
        subsets = [names[: n + 1] for n in range(5)]
        return dict(
            enumerate(
                plan.align(
                    [
                        problem(
                            pair,
                            network,
                            {"solver.evaluations": 3, "style.layers": layers, "content.weight": ratio},
                        )
                        for layers in subsets
                        for ratio in ratios
                    ]
                )
            )
        )

    for mode, function in (("vmap", "step_batch)"), ("threads", "step)")):
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            caplog.clear()
            found, _ = solve_all(cells(1e-5, 1e-4, 1e-3, 1e-2), mode=mode)
            assert len(found) == 20
            assert len(compilations(caplog, function)) == 1
            caplog.clear()
            solve_all(cells(1e-2, 1e-1, 1.0, 10.0), mode=mode)
            assert compilations(caplog) == []


def test_a_problem_that_fails_is_frozen_and_does_not_disturb_the_others(pair, network, exploding):
    well, _ = solve_all(grid(pair, network, weights=(10.0, 20.0, 30.0)), mode="vmap")
    ill, _ = solve_all(grid(pair, network, weights=(10.0, exploding, 30.0)), mode="vmap")
    assert ill[1][0].status == "not finite"
    assert ill[1][0].evaluations == 1
    np.testing.assert_allclose(ill[1][0].image, pair[0], atol=1e-5)
    for i in (0, 2):
        assert ill[i][0].status == "finished"
        np.testing.assert_array_equal(ill[i][0].image, well[i][0].image)


def test_a_problem_that_has_ended_keeps_its_result(pair, network):
    """A picture that is its own target cannot get better, and stalls while the others go on."""
    done = problem(pair, network, {"style.weight": 0.0, "solver.evaluations": 30})
    ready = dict(enumerate(plan.align([done, problem(pair, network, {"solver.evaluations": 30})])))
    found, _ = solve_all(ready, mode="vmap")
    assert found[0][0].loss < 1e-8 * found[1][0].loss
    assert found[1][0].status == "finished"
    np.testing.assert_allclose(found[0][0].image, pair[0], atol=1e-5)
    assert found[1][0].loss < found[1][0].initial_loss


def test_targets_are_computed_once_for_each_picture(pair, network, random, monkeypatch):
    counted = []

    def count(real, posed, params, *each):
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params)):
            counted.append(real)  # and not only its shapes
        return real(posed, params, *each)

    for name in ("content_targets", "style_targets"):
        monkeypatch.setattr(targets, name, partial(count, getattr(targets, name)))
    other = (pair[0], np.float32(random.uniform(size=(30, 30, 3))))
    ready = {**grid(pair, network), **{10 + i: t for i, t in grid(other, network).items()}}
    for mode in ("vmap", "threads"):
        counted.clear()
        found, _ = solve_all(ready, mode=mode)
        assert len(found) == 10
        assert len(counted) == 3  # one content, two styles


def test_layers_are_aligned_with_weight_zero(pair, network):
    layers = [["conv1_1"], {"conv2_1": 2.0, "conv1_1": 0.5}]
    a, b = plan.align(
        [problem(pair, network, {"style.layers": names, "content.layers": ()}) for names in layers]
    )
    assert a.weights.style_layers == {"conv1_1": 1.0, "conv2_1": 0.0}
    assert b.weights.style_layers == {"conv1_1": 0.5, "conv2_1": 2.0}
    found, _ = solve_all({0: a, 1: b}, mode="threads")
    for index, names in enumerate(layers):
        expected = alone(pair, network, 1000.0, {"style.layers": names, "content.layers": ()})
        assert found[index][0].loss == pytest.approx(expected.loss, rel=1e-2)
        assert found[index][0].initial_loss == pytest.approx(expected.initial_loss, rel=1e-5)


def test_shapes_and_budgets_get_their_own_chunks(pair, network, random):
    wide = (np.float32(random.uniform(size=(20, 40, 3))), pair[1])
    ready = {
        0: problem(pair, network),
        1: problem(wide, network),
        2: problem(pair, network, {"solver.evaluations": 5}),
        3: problem(pair, network, {"style.weight": 7.0}),
    }
    found, _ = solve_all(ready, mode="vmap")
    assert [found[i][0].image.shape for i in range(4)] == [(24, 32, 3), (20, 40, 3), (24, 32, 3), (24, 32, 3)]
    assert [found[i][0].evaluations for i in range(4)] == [12, 12, 5, 12]


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 8))
def test_chunks_are_equal_and_no_larger_than_allowed(count, most, multiple):
    size = plan.equal(count, most, multiple)
    chunks = -(-count // size)
    assert size % multiple == 0
    if most >= count:
        assert chunks == 1
        assert size - count < multiple
    else:
        assert size <= max(most, multiple)
        assert chunks == -(-count // max(multiple, most - most % multiple))
        assert chunks * (size - multiple) < count  # smaller chunks would not do


def test_a_short_last_chunk_uses_the_same_program(pair, network):
    whole, _ = solve_all(grid(pair, network), mode="vmap", max_parallel=3)
    assert sorted(whole) == [0, 1, 2, 3, 4]
    more, _ = solve_all({**grid(pair, network), 5: problem(pair, network)}, mode="vmap", max_parallel=3)
    for index in range(5):
        np.testing.assert_array_equal(whole[index][0].image, more[index][0].image)


def test_a_batch_fits_in_memory(pair, network, monkeypatch):
    posed = problem(pair, network)
    shapes, devices = memory.shapes_of(posed), tuple(jax.local_devices()[:1])
    needed = lambda n: sum(machine.taken(compiled(posed.program, shapes, n, devices)))
    assert needed(16) > needed(4) > 4 * nbytes(shapes.state)
    limit = needed(4)
    monkeypatch.setattr(machine, "usable", lambda devices, _: limit)
    count = plan.batch_size(posed, shapes, 16, devices)
    assert 1 < count <= 4
    assert needed(count) <= limit
    assert plan.batch_size(posed, shapes, 16, devices, max_parallel=2) == 2
    limit = 0
    assert plan.batch_size(posed, shapes, 16, devices) == 1
    limit = 2**40
    assert plan.batch_size(posed, shapes, 16, devices) == 16


def at_once(ready, **how):
    """Return how many problems run at once, all of them being of one program."""
    (share,) = plan.shares(ready, plan.How(**how))
    for found, asked in zip(share.problems, ready.values(), strict=True):
        assert all(
            getattr(found, name) is getattr(asked, name) for name in ("settings", "content", "paintings")
        )
        assert (found.weights, found.program) == (asked.weights, asked.program)
    return share.at_once


def test_threads_are_bounded_by_cores_cells_memory_and_wish(pair, network, monkeypatch):
    ready = grid(pair, network)
    monkeypatch.setattr(plan.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    assert at_once(ready) == 4
    assert at_once(ready, mode="threads", max_parallel=2) == 2
    assert at_once({0: ready[0], 1: ready[1]}) == 2
    (one,) = plan.shares(ready, plan.How(max_parallel=1))
    assert one.nbytes < plan.shares(ready)[0].nbytes
    monkeypatch.setattr(machine, "usable", lambda devices, limit: one.nbytes + 1)
    assert at_once(ready) == 1


@pytest.mark.parametrize(("mode", "place"), [("threads", None), ("vmap", None), ("threads", "disk")])
def test_interrupted_work_goes_on_bit_for_bit(pair, network, tmp_path, mode, place, monkeypatch):
    monkeypatch.setattr(streamed, "CHUNK", 999)  # products are sums of several, which float32 does not hold
    values = {"solver.evaluations": 40, "init": "noise", "seed": 4, "solver.history_on": place}
    ready = grid(pair, network, values)
    expected, _ = solve_all(ready, mode=mode)
    kept = {"mode": mode, "keep": tmp_path, "stamp": "this"}
    early, whole = solve_all(ready, watch=lambda progress: progress.evaluations >= 70, **kept)
    assert not whole
    assert len(early) < 5
    assert len(list(tmp_path.glob("*.npz"))) >= 1
    late, whole = solve_all(ready, finished=early, **kept)
    assert whole
    assert not early.keys() & late.keys()
    assert same(expected, early | late)
    assert list(tmp_path.glob("*.npz")) == []


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_what_is_kept_of_interrupted_work_is_not_in_the_colours_that_are_shown(pair, network, tmp_path, mode):
    values = {"solver.evaluations": 20, "pyramid.levels": 2, "colour": "content"}
    ready = grid(pair, network, values)
    expected, _ = solve_all(ready, mode=mode)
    kept = {"mode": mode, "keep": tmp_path, "stamp": "this"}
    early, whole = solve_all(ready, watch=lambda progress: progress.evaluations >= 130, **kept)
    assert not whole
    late, whole = solve_all(ready, finished=early, **kept)
    assert whole
    assert same(expected, early | late)
    assert {problem.colours is not None for problem in ready.values()} == {True}


@pytest.mark.parametrize("mode", ["threads", "vmap"])
@pytest.mark.parametrize("evaluations", [15, 27])
def test_what_follows_a_picture_of_the_level_before_is_gone_on_with(
    pair, network, tmp_path, mode, evaluations
):
    """Nnst copies what the picture is like when a level begins: after that only its targets tell."""
    values = {"style.kind": "nnst", "style.layers": ("conv1_1", "conv2_1"), "pyramid.levels": 2}
    ready = grid(pair, network, values | {"solver.evaluations": 8}, weights=WEIGHTS[:1])
    expected, _ = solve_all(ready, mode=mode)
    how = {"mode": mode, "keep": tmp_path, "stamp": "this"}
    _, whole = solve_all(ready, watch=lambda progress: progress.evaluations >= evaluations, **how)
    assert not whole
    found, whole = solve_all(ready, **how)
    assert whole
    np.testing.assert_array_equal(found[0][0].image, expected[0][0].image)
    assert found[0][0].evaluations == 4 * 8


def test_a_state_of_other_work_is_not_gone_on_with(pair, network, tmp_path):
    ready = grid(pair, network, {"solver.evaluations": 40}, weights=WEIGHTS[:1])
    solve_all(ready, keep=tmp_path, stamp="this", watch=lambda progress: progress.evaluations >= 20)
    seen = []
    solve_all(ready, keep=tmp_path, stamp="other", watch=lambda progress: seen.append(progress.evaluations))
    assert seen[0] == 1
    solve_all(ready, keep=tmp_path, stamp="this", watch=lambda progress: progress.evaluations >= 20)
    (tmp_path / "00000.npz").write_bytes(b"damaged")
    seen.clear()
    solve_all(ready, keep=tmp_path, stamp="this", watch=lambda progress: seen.append(progress.evaluations))
    assert seen[0] == 1


def test_states_are_saved_now_and_then_and_the_plan_is_kept(pair, network, tmp_path, monkeypatch):
    saved = []
    real = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda path, *rest: saved.append(path.name) or real(path, *rest))
    ready = grid(pair, network)
    solve_all(ready, keep=tmp_path, mode="vmap")
    assert saved == []  # it took no 20 seconds
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", 1e9)
    solve_all(ready, keep=tmp_path, mode="vmap", max_parallel=2, stamp="s")
    assert set(saved) == {"00000.npz", "00002.npz", "00004.npz"}
    monkeypatch.setattr(plan, "batch_size", lambda *a: pytest.fail("planned again"))
    solve_all(ready, keep=tmp_path, mode="vmap", max_parallel=2, stamp="s")
    assert 2 in json.loads((tmp_path / "plan.json").read_text()).values()


def test_finished_tasks_are_not_run_again(pair, network):
    for mode in ("threads", "vmap"):
        seen = []
        found, _ = solve_all(grid(pair, network), mode=mode, finished={0, 3}, watch=seen.append)
        assert sorted(found) == [1, 2, 4]
        assert seen[-1].done == seen[-1].cells == 5
        assert seen[-1].evaluations == seen[-1].budget == 5 * 12
        assert solve_all(grid(pair, network), mode=mode, finished=range(5)) == ({}, True)


def test_progress_grows_to_the_whole(pair, network):
    seen = []
    found, _ = solve_all(grid(pair, network), watch=seen.append)
    assert [p.evaluations for p in seen] == sorted(p.evaluations for p in seen)
    assert (seen[-1].done, seen[-1].evaluations) == (5, 60)
    assert seen[-1].best_loss == min(result.loss for result, _ in found.values())


def test_a_curve_has_the_same_points_however_often_one_looks(pair, network, monkeypatch):
    ready = grid(pair, network, {"solver.evaluations": 120}, weights=WEIGHTS[:2])
    usual, _ = solve_all(ready)
    monkeypatch.setattr("nst_jax.transfer.stretch.CHUNK_SECONDS", 1e-9)
    often, _ = solve_all(ready)
    assert same(usual, often)
    assert [point["evaluations"] for point in usual[0][1]] == [1, *range(2, 121, 2)]


def test_an_error_on_one_thread_ends_all(pair, network):
    def full(index, *result):
        raise OutputError("no space left")

    before, seen = threading.active_count(), []
    ready = grid(pair, network, {"solver.evaluations": 200})
    with pytest.raises(OutputError, match="no space left"):
        batch.run(ready, done=full, how=plan.How(max_parallel=2), watch=seen.append)
    assert threading.active_count() == before
    assert seen[-1].evaluations < 600  # the other thread did not go on with the rest of the thousand


def test_line_searches_are_not_batched(pair, network):
    ready = grid(pair, network, {"solver.linesearch": "zoom"}, weights=(1.0, 1e3, 1e6))
    batched, _ = solve_all(ready, mode="vmap")
    assert same(batched, solve_all(ready, mode="threads")[0])
    assert {result.status for result, _ in batched.values()} <= {"finished", "stalled"}


def test_too_little_memory_is_said(pair, network, monkeypatch):
    def exhausted(*args, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes")

    monkeypatch.setattr(loop, "solve", exhausted)
    with pytest.raises(NstError, match="out of memory with 4 cells in one program; try max_parallel 2"):
        solve_all(grid(pair, network, weights=WEIGHTS[:4]), mode="vmap")


def test_several_devices_share_a_batch(network, tmp_path):
    """Eight devices that are one CPU: results as on one, no problem waits for another, no harm in a stop."""
    code = textwrap.dedent(
        """
        import sys, jax, numpy as np
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from makers import NARROW
        from problems import grid, network_of, solve_all
        from nst_jax.networks import vgg
        from nst_jax.transfer import batch, loop
        from nst_jax.transfer.program import compiled
        network = network_of(vgg.random_params(jax.random.key(1), blocks=NARROW))
        random = np.random.default_rng(0)
        pair = np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)))
        devices = tuple(jax.local_devices())
        assert len(devices) == 8
        ready = grid(pair, network, weights=[10.0 * n for n in range(1, 12)])
        batches, solve = [], loop.solve
        loop.solve = lambda batch, *args, **options: batches.append(batch) or solve(batch, *args, **options)
        many, _ = solve_all(ready)
        (one,) = batches
        assert (one.size, len(one.devices)) == (16, 8), one
        step = compiled(ready[0].program, one.shapes, one.size, one.devices)
        assert "all-reduce" not in step.as_text() and "all-gather" not in step.as_text()
        few, _ = solve_all({i: ready[i] for i in range(3)})
        jax.local_devices = lambda: devices[:1]
        one, _ = solve_all(ready, mode="vmap")
        for i in range(11):
            np.testing.assert_allclose(many[i][0].loss, one[i][0].loss, rtol=1e-3)
            np.testing.assert_allclose(many[i][0].image, one[i][0].image, atol=2e-3)
        for i in range(3):
            np.testing.assert_allclose(few[i][0].loss, one[i][0].loss, rtol=1e-3)
        jax.local_devices = lambda: devices
        kept = {"keep": Path(sys.argv[2]), "stamp": "this"}
        early, whole = solve_all(ready, watch=lambda progress: progress.evaluations >= 60, **kept)
        assert not whole and len(early) < 11 and list(kept["keep"].glob("*.npz"))
        seen = []
        late, whole = solve_all(ready, finished=early, watch=lambda p: seen.append(p.evaluations), **kept)
        assert whole and seen[0] >= 60
        for i, (result, _) in (early | late).items():
            np.testing.assert_array_equal(result.image, many[i][0].image)
        """
    )
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


def test_losses_agree_after_a_hundred_evaluations_of_the_real_network(real_weights, random):
    """On a CPU, where problems run on threads by default, each is the run alone; so is its loss."""
    network = network_for(real_weights, convention="gatys2016")
    pair = np.float32(random.uniform(size=(32, 32, 3))), np.float32(random.uniform(size=(32, 32, 3)) ** 2)
    ready = grid(pair, network, {"solver.evaluations": 100}, weights=(1e2, 1e3))
    found, _ = solve_all(ready)
    for index, posed in ready.items():
        expected = solve(posed)
        assert found[index][0].loss == expected.loss
        assert replace(found[index][0], seconds=0.0).sentence == expected.sentence


def test_a_cell_that_does_not_fit_is_refused_or_made_to_fit(pair, network, monkeypatch):
    ready = grid(pair, network, {"solver.history": None}, weights=WEIGHTS[:2])
    whole = memory.estimate(ready[0]).total
    limit = whole - 10 * ready[0].content.nbytes
    monkeypatch.setattr(machine, "usable", lambda devices, _: limit)
    (share,) = plan.shares(ready, plan.How(mode="threads"))
    assert {posed.program.solver.history for posed in share.problems} == {HISTORY - 5}
    (batched,) = plan.shares(ready, plan.How(mode="vmap"))
    assert batched.problems == tuple(ready.values())
    limit = 1000
    with pytest.raises(NstError, match="can be used"):
        batch.run(ready, done=lambda *_: None, how=plan.How(mode="threads"))

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from grids import WEIGHTS, grid, options, prepare, solve
from hypothesis import given
from hypothesis import strategies as st
from nst_jax.transfer.lanes import plan, work

from nst_jax import Encoder, stylize, stylize_grid
from nst_jax.errors import NstError, OutputError
from nst_jax.transfer import checkpoints, fitting, lanes, memory
from nst_jax.transfer import problem as tasks


def alone(pair, narrow, weight, **changes):
    encoder = Encoder(narrow, "narrow", "", "", "")
    return stylize(*pair, encoder=encoder, **options(style_weight=weight, **changes))


def same(a, b):
    """Tell whether two grids' results and curves are the same bits."""
    assert a.keys() == b.keys()
    return all(
        np.array_equal(a[i][0].image, b[i][0].image) and a[i][0].loss == b[i][0].loss and a[i][1] == b[i][1]
        for i in a
    )


@pytest.mark.parametrize("changes", [{}, {"method": "adam"}, {"linesearch": "zoom"}])
def test_a_lane_on_a_thread_is_bit_for_bit_the_run_alone(pair, narrow, changes):
    found, whole = solve(grid(pair, narrow, weights=WEIGHTS[:3], **changes), mode="threads")
    assert whole
    for index, weight in enumerate(WEIGHTS[:3]):
        result, curve = found[index]
        expected = alone(pair, narrow, weight, **changes)
        np.testing.assert_array_equal(result.image, expected.image)
        assert (result.loss, result.terms, result.status) == (expected.loss, expected.terms, expected.status)
        assert (result.initial_loss, result.evaluations) == (expected.initial_loss, expected.evaluations)
        assert curve[-1] == {
            "evaluations": result.evaluations,
            "loss": result.loss,
            "terms": result.terms,
        }


def test_lanes_of_a_batch_are_the_runs_alone(pair, narrow):
    """To rounding at first; that L-BFGS then magnifies, so late losses agree less than early ones."""
    found, _ = solve(grid(pair, narrow), mode="vmap")
    for index, weight in enumerate(WEIGHTS):
        expected = alone(pair, narrow, weight)
        assert found[index][0].initial_loss == pytest.approx(expected.initial_loss, rel=1e-5)
        assert found[index][0].loss == pytest.approx(expected.loss, rel=1e-3)
        np.testing.assert_allclose(found[index][0].image, expected.image, atol=2e-3)


def compilations(caplog, function=""):
    return [r for r in caplog.messages if r.startswith(f"Finished XLA compilation of jit({function}")]


def test_one_compilation_for_twenty_cells_and_none_for_other_values(narrow, random, caplog):
    pair = (np.float32(random.uniform(size=(22, 26, 3))), np.float32(random.uniform(size=(20, 20, 3))))

    def cells(*ratios):
        names = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
        subsets = [names[: n + 1] for n in range(5)]
        return dict(
            enumerate(
                lanes.align(
                    [
                        prepare(pair, narrow, evaluations=3, style_layers=layers, content_weight=ratio)
                        for layers in subsets
                        for ratio in ratios
                    ]
                )
            )
        )

    for mode, function in (("vmap", "step_lanes)"), ("threads", "step)")):
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            caplog.clear()
            found, _ = solve(cells(1e-5, 1e-4, 1e-3, 1e-2), mode=mode)
            assert len(found) == 20
            assert len(compilations(caplog, function)) == 1
            caplog.clear()
            solve(cells(1e-2, 1e-1, 1.0, 10.0), mode=mode)
            assert compilations(caplog) == []


def test_a_lane_that_fails_is_frozen_and_does_not_disturb_the_others(pair, narrow):
    well, _ = solve(grid(pair, narrow, weights=(10.0, 20.0, 30.0)), mode="vmap")
    ill, _ = solve(grid(pair, narrow, weights=(10.0, 3e38, 30.0)), mode="vmap")
    assert ill[1][0].status == "not finite"
    assert ill[1][0].evaluations == 1
    np.testing.assert_allclose(ill[1][0].image, pair[0], atol=1e-5)
    for lane in (0, 2):
        assert ill[lane][0].status == "finished"
        np.testing.assert_array_equal(ill[lane][0].image, well[lane][0].image)


def test_a_lane_that_has_ended_keeps_its_result(pair, narrow):
    """A picture that is its own target cannot get better, and stalls while the others go on."""
    done = prepare(pair, narrow, style_weight=0.0, evaluations=30)
    ready = dict(enumerate(lanes.align([done, prepare(pair, narrow, evaluations=30)])))
    found, _ = solve(ready, mode="vmap")
    assert (found[0][0].loss, found[1][0].status) == (0.0, "finished")
    np.testing.assert_allclose(found[0][0].image, pair[0], atol=1e-5)
    assert found[1][0].loss < found[1][0].initial_loss


def test_targets_are_computed_once_for_each_picture(pair, narrow, random, monkeypatch):
    counted = []
    for name in ("content_targets", "style_targets"):
        real = getattr(tasks, name)
        monkeypatch.setattr(
            work, name, lambda task, network, real=real: counted.append(real) or real(task, network)
        )
    other = (pair[0], np.float32(random.uniform(size=(30, 30, 3))))
    ready = {**grid(pair, narrow), **{10 + i: t for i, t in grid(other, narrow).items()}}
    for mode in ("vmap", "threads"):
        counted.clear()
        found, _ = solve(ready, mode=mode)
        assert len(found) == 10
        assert len(counted) == 3  # one content, two styles


def test_layers_are_aligned_with_weight_zero(pair, narrow):
    layers = [["conv1_1"], {"conv3_1": 2.0, "conv1_1": 0.5}]
    a, b = lanes.align([prepare(pair, narrow, style_layers=names, content_layers=()) for names in layers])
    assert a.weights.style_layers == {"conv1_1": 1.0, "conv3_1": 0.0}
    assert b.weights.style_layers == {"conv1_1": 0.5, "conv3_1": 2.0}
    found, _ = solve({0: a, 1: b}, mode="threads")
    for index, names in enumerate(layers):
        expected = alone(pair, narrow, 1000.0, style_layers=names, content_layers=())
        assert found[index][0].loss == pytest.approx(expected.loss, rel=1e-2)
        assert found[index][0].initial_loss == pytest.approx(expected.initial_loss, rel=1e-5)


def test_shapes_and_budgets_get_their_own_chunks(pair, narrow, random):
    wide = (np.float32(random.uniform(size=(20, 40, 3))), pair[1])
    ready = {
        0: prepare(pair, narrow),
        1: prepare(wide, narrow),
        2: prepare(pair, narrow, evaluations=5),
        3: prepare(pair, narrow, style_weight=7.0),
    }
    found, _ = solve(ready, mode="vmap")
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


def test_a_short_last_chunk_uses_the_same_program(pair, narrow):
    whole, _ = solve(grid(pair, narrow), mode="vmap", max_parallel=3)
    assert sorted(whole) == [0, 1, 2, 3, 4]
    more, _ = solve({**grid(pair, narrow), 5: prepare(pair, narrow)}, mode="vmap", max_parallel=3)
    for index in range(5):
        np.testing.assert_array_equal(whole[index][0].image, more[index][0].image)


def test_lanes_at_once_fit_in_memory(pair, narrow, monkeypatch):
    task = prepare(pair, narrow)
    shapes, devices = fitting.shapes_of(task), tuple(jax.local_devices()[:1])
    needed = lambda n: sum(memory.taken(plan.compiled(task.program, shapes, n, devices)))
    assert needed(16) > needed(4) > 4 * fitting.nbytes(shapes.state)
    monkeypatch.setattr(memory, "usable", lambda devices, limit: needed(4))
    count = plan.lanes_at_once(task, shapes, 16, devices)
    assert 1 < count <= 4
    assert needed(count) <= needed(4)
    assert plan.lanes_at_once(task, shapes, 16, devices, max_parallel=2) == 2
    monkeypatch.setattr(memory, "usable", lambda devices, limit: 0)
    assert plan.lanes_at_once(task, shapes, 16, devices) == 1
    monkeypatch.setattr(memory, "usable", lambda devices, limit: 2**40)
    assert plan.lanes_at_once(task, shapes, 16, devices) == 16


def test_threads_are_bounded_by_cores_cells_memory_and_wish(pair, narrow, monkeypatch):
    ready = grid(pair, narrow)
    monkeypatch.setattr(plan.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    assert plan.workers(ready, "auto", None) == 4
    assert plan.workers(ready, "threads", 2) == 2
    assert plan.workers({0: ready[0], 1: ready[1]}, "auto", None) == 2
    assert plan.workers(ready, "vmap", None) == 1
    monkeypatch.setattr(memory, "usable", lambda devices, limit: 0)
    assert plan.workers(ready, "auto", None) == 1


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_interrupted_work_goes_on_bit_for_bit(pair, narrow, tmp_path, mode):
    ready = grid(pair, narrow, evaluations=40, init="noise", seed=4)
    expected, _ = solve(ready, mode=mode)
    kept = {"mode": mode, "keep": tmp_path, "stamp": "this"}
    early, whole = solve(ready, watch=lambda progress: progress.evaluations >= 70, **kept)
    assert not whole
    assert len(early) < 5
    assert len(list(tmp_path.glob("*.npz"))) >= 1
    late, whole = solve(ready, finished=early, **kept)
    assert whole
    assert not early.keys() & late.keys()
    assert same(expected, early | late)
    assert list(tmp_path.glob("*.npz")) == []


def test_a_state_of_other_work_is_not_gone_on_with(pair, narrow, tmp_path):
    ready = grid(pair, narrow, weights=WEIGHTS[:1], evaluations=40)
    solve(ready, keep=tmp_path, stamp="this", watch=lambda progress: progress.evaluations >= 20)
    seen = []
    solve(ready, keep=tmp_path, stamp="other", watch=lambda progress: seen.append(progress.evaluations))
    assert seen[0] == 1
    solve(ready, keep=tmp_path, stamp="this", watch=lambda progress: progress.evaluations >= 20)
    (tmp_path / "00000.npz").write_bytes(b"damaged")
    seen.clear()
    solve(ready, keep=tmp_path, stamp="this", watch=lambda progress: seen.append(progress.evaluations))
    assert seen[0] == 1


def test_states_are_saved_now_and_then_and_the_plan_is_kept(pair, narrow, tmp_path, monkeypatch):
    saved = []
    real = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda path, *rest: saved.append(path.name) or real(path, *rest))
    ready = grid(pair, narrow)
    solve(ready, keep=tmp_path, mode="vmap")
    assert saved == []  # it took no 20 seconds
    monkeypatch.setattr(work, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(work, "SAVE_SHARE", 1e9)
    solve(ready, keep=tmp_path, mode="vmap", max_parallel=2, stamp="s")
    assert set(saved) == {"00000.npz", "00002.npz", "00004.npz"}
    monkeypatch.setattr(plan, "lanes_at_once", lambda *a: pytest.fail("planned again"))
    solve(ready, keep=tmp_path, mode="vmap", max_parallel=2, stamp="s")
    assert 2 in json.loads((tmp_path / "plan.json").read_text()).values()


def test_finished_tasks_are_not_run_again(pair, narrow):
    for mode in ("threads", "vmap"):
        seen = []
        found, _ = solve(grid(pair, narrow), mode=mode, finished={0, 3}, watch=seen.append)
        assert sorted(found) == [1, 2, 4]
        assert seen[-1].done == seen[-1].cells == 5
        assert seen[-1].evaluations == seen[-1].budget == 5 * 12
        assert solve(grid(pair, narrow), mode=mode, finished=range(5)) == ({}, True)


def test_progress_grows_to_the_whole(pair, narrow):
    seen = []
    found, _ = solve(grid(pair, narrow), watch=seen.append)
    assert [p.evaluations for p in seen] == sorted(p.evaluations for p in seen)
    assert (seen[-1].done, seen[-1].evaluations) == (5, 60)
    assert seen[-1].best_loss == min(result.loss for result, _ in found.values())


def test_a_curve_has_the_same_points_however_often_one_looks(pair, narrow, monkeypatch):
    ready = grid(pair, narrow, weights=WEIGHTS[:2], evaluations=120)
    usual, _ = solve(ready)
    monkeypatch.setattr("nst_jax.transfer.loop.CHUNK_SECONDS", 1e-9)
    often, _ = solve(ready)
    assert same(usual, often)
    assert [point["evaluations"] for point in usual[0][1]] == [1, *range(2, 121, 2)]


def test_an_error_on_one_thread_ends_all(pair, narrow):
    def full(index, *result):
        raise OutputError("no space left")

    before, seen = threading.active_count(), []
    ready = grid(pair, narrow, evaluations=200)
    with pytest.raises(OutputError, match="no space left"):
        lanes.run(ready, done=full, max_parallel=2, watch=seen.append)
    assert threading.active_count() == before
    assert seen[-1].evaluations < 600  # the other thread did not go on with the rest of the thousand


def test_line_searches_are_not_batched(pair, narrow):
    ready = grid(pair, narrow, weights=(1.0, 1e3, 1e6), linesearch="zoom")
    batched, _ = solve(ready, mode="vmap")
    assert same(batched, solve(ready, mode="threads")[0])
    assert {result.status for result, _ in batched.values()} <= {"finished", "stalled"}


def test_too_little_memory_is_said(pair, narrow, monkeypatch):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes")

    monkeypatch.setattr(work, "_solve", exhausted)
    with pytest.raises(NstError, match="out of memory with 4 cells in one program; try --max-parallel 2"):
        solve(grid(pair, narrow, weights=WEIGHTS[:4]), mode="vmap")


def test_several_devices_share_the_lanes(narrow, tmp_path):
    """Eight devices that are one CPU: results as on one, no lane waits for another, no harm in a stop."""
    code = textwrap.dedent(
        """
        import sys, jax, numpy as np
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import grids
        from makers import NARROW
        from nst_jax.networks import vgg
        from nst_jax.transfer.lanes import plan, programs
        narrow = vgg.random_params(jax.random.key(1), blocks=NARROW)
        random = np.random.default_rng(0)
        pair = np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)))
        devices = tuple(jax.local_devices())
        assert len(devices) == 8
        ready = grids.grid(pair, narrow, weights=[10.0 * n for n in range(1, 12)])
        job = next(plan.jobs(ready, finished=(), mode="auto", max_parallel=None, keep=None, stamp=""))
        assert (job.lanes, len(job.devices)) == (16, 8), job
        step = programs.compiled(ready[0].program, job.shapes, job.lanes, job.devices)
        assert "all-reduce" not in step.as_text() and "all-gather" not in step.as_text()
        many, _ = grids.solve(ready)
        few, _ = grids.solve({i: ready[i] for i in range(3)})
        plan.jax.local_devices = lambda: devices[:1]
        one, _ = grids.solve(ready, mode="vmap")
        for i in range(11):
            np.testing.assert_allclose(many[i][0].loss, one[i][0].loss, rtol=1e-3)
            np.testing.assert_allclose(many[i][0].image, one[i][0].image, atol=2e-3)
        for i in range(3):
            np.testing.assert_allclose(few[i][0].loss, one[i][0].loss, rtol=1e-3)
        plan.jax.local_devices = lambda: devices
        kept = {"keep": Path(sys.argv[2]), "stamp": "this"}
        early, whole = grids.solve(ready, watch=lambda progress: progress.evaluations >= 60, **kept)
        assert not whole and len(early) < 11 and list(kept["keep"].glob("*.npz"))
        seen = []
        late, whole = grids.solve(ready, finished=early, watch=lambda p: seen.append(p.evaluations), **kept)
        assert whole and seen[0] >= 60
        for i, (result, _) in (early | late).items():
            np.testing.assert_array_equal(result.image, many[i][0].image)
        """
    )
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


def test_losses_agree_after_a_hundred_evaluations_of_the_real_network(real_weights, random):
    """On a CPU, where lanes run on threads by default, the lane is the run alone; so is its loss."""
    from nst_jax import load_encoder

    encoder = load_encoder(real_weights)
    pair = np.float32(random.uniform(size=(32, 32, 3))), np.float32(random.uniform(size=(32, 32, 3)) ** 2)
    changes = {"evaluations": 100}
    ready = dict(enumerate(prepare(pair, encoder.params, style_weight=w, **changes) for w in (1e2, 1e3)))
    found, _ = solve(ready)
    for index, weight in enumerate((1e2, 1e3)):
        expected = stylize(*pair, encoder=encoder, **options(style_weight=weight, **changes))
        assert found[index][0].loss == expected.loss
        assert replace(found[index][0], seconds=0.0).sentence == expected.sentence


def test_a_grid_on_arrays(pair, narrow):
    encoder = Encoder(narrow, "narrow", "", "", "")
    axes = {"style_weight": [10.0, 1000.0], "style_layers": [["conv1_1"], {"conv1_1": 1.0, "conv3_1": 2.0}]}
    found = stylize_grid(*pair, axes, encoder=encoder, evaluations=5, init="noise", seed=3)
    assert list(found) == [
        (w, layers) for w in (10.0, 1000.0) for layers in (("conv1_1",), (("conv1_1", 1.0), ("conv3_1", 2.0)))
    ]
    options = {
        "evaluations": 5,
        "init": "noise",
        "seed": 3,
        "style_weight": 10.0,
        "style_layers": ["conv1_1"],
    }
    expected = stylize(*pair, encoder=encoder, **options)
    assert found[10.0, ("conv1_1",)].loss == pytest.approx(expected.loss, rel=1e-3)
    sized = stylize_grid(*pair, {"style_scale": [0.7, 1.5]}, encoder=encoder, evaluations=3)
    assert sized[0.7,].loss == stylize(*pair, encoder=encoder, evaluations=3, style_scale=0.7).loss
    some = stylize_grid(
        *pair, {"seed": [1, 2, 3]}, encoder=encoder, max_parallel=1, callback=lambda p: p.done == 1
    )
    assert list(some) == [(1,)]


def test_a_grid_of_what_is_no_option(pair, narrow):
    encoder = Encoder(narrow, "narrow", "", "", "")
    with pytest.raises(NstError, match=r"unknown option 'style_wieght' \(did you mean 'style_weight'\?\)"):
        stylize_grid(*pair, {"style_wieght": [1.0]}, encoder=encoder)
    with pytest.raises(NstError, match="'pool' is common to all cells"):
        stylize_grid(*pair, {"pool": ["avg", "max"]}, encoder=encoder)


def test_a_cell_that_does_not_fit_is_refused_or_made_to_fit(pair, narrow, monkeypatch):
    ready = grid(pair, narrow)
    whole = fitting.estimate(ready[0]).total
    monkeypatch.setattr(memory, "usable", lambda devices, limit: whole - 10 * ready[0].content.nbytes)
    programs_used = {task.program for task in plan.fitted(ready, (), "threads").values()}
    assert {program.history for program in programs_used} == {ready[0].program.history - 5}
    assert plan.fitted(ready, (), "vmap") == ready
    monkeypatch.setattr(memory, "usable", lambda devices, limit: 1000)
    with pytest.raises(NstError, match="can be used"):
        plan.fitted(ready, (), "threads")


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_a_grid_of_doodles(pair, narrow, random, mode):
    maps = {"content_map": random.random((24, 32, 2)), "style_map": random.random((40, 28, 2))}
    encoder = Encoder(narrow, "narrow", "", "", "")
    options = {"style_kind": "patch", "style_layers": ("conv2_1",), "convention": "champandard2016"}
    options |= {"levels": 2, "evaluations": 4, "encoder": encoder} | maps
    found = stylize_grid(None, pair[1], {"semantic_weight": [0.0, 50.0]}, mode=mode, **options)
    for (gamma,), result in found.items():
        one = stylize(None, pair[1], semantic_weight=gamma, **options)
        assert result.loss == pytest.approx(one.loss, rel=1e-3 if mode == "vmap" else 0)
        assert result.image.shape == (24, 32, 3)
    assert found[0.0,].loss != found[50.0,].loss

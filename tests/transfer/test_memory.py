from dataclasses import replace

import jax
import numpy as np
import pytest
from problems import network_of, problem, solve

from nst_jax.errors import NstError
from nst_jax.networks import vgg
from nst_jax.solvers import scipy_lbfgsb, streamed
from nst_jax.transfer import machine, memory
from nst_jax.transfer import problem as problems
from nst_jax.transfer.targets import targets_of

OPEN = {"solver.history": None}


@pytest.fixture(scope="module", autouse=True)
def many_pairs():
    """So many that the history is most of what a problem takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problems, "HISTORY", 100)
        yield


@pytest.fixture
def limit(monkeypatch):
    """Return a function that says how much memory there is."""
    return lambda nbytes: monkeypatch.setattr(machine, "usable", lambda devices, limit: nbytes)


@pytest.fixture(scope="module")
def posed(narrow):
    random = np.random.default_rng(0)
    pair = [np.float32(random.uniform(size=(40, 56, 3))) for _ in range(2)]
    return problem(pair, network_of(narrow), OPEN)


@pytest.fixture(scope="module")
def whole(posed):
    return memory.estimate(posed)


def history(posed):
    return posed.program.solver.history


def test_an_estimate_is_what_the_run_takes(posed, whole):
    """Of the arrays of a run, added up here."""
    pair = 2 * posed.content.nbytes
    assert 100 * pair < whole.optimiser < 104 * pair
    params = posed.prepared()
    args = jax.tree.leaves((params, targets_of(posed, params)))
    there = {id(array) for array in jax.tree.leaves(posed.network.params)}
    new = [array for array in args if id(array) not in there]
    assert len(new) < len(args)
    assert whole.network == pytest.approx(sum(array.nbytes for array in new), rel=0.01)
    features = vgg.features(params, vgg.to_input(posed.content), layers=list(params))
    kept = sum(array.nbytes for array in features.values())
    assert kept < whole.features < 6 * kept
    assert whole.total == whole.network + whole.optimiser + whole.features + whole.kept
    assert (whole.kept, whole.programs) == (memory.kept(whole.features), 0)


def test_each_size_and_each_other_pass_has_a_program(posed, whole, network):
    sizes = memory.estimate(replace(posed, levels=3))
    assert sizes.total == whole.total + sizes.programs
    assert sizes.programs == 2 * memory.PROGRAM
    assert "\nprograms" in memory.table(posed, sizes)
    copied = problem((posed.content, posed.paintings[0].image), network, {"style.kind": "nnst"})
    assert memory.estimate(replace(copied, levels=2)).programs == 2 * memory.PROGRAM
    assert memory.estimate(replace(copied, levels=1)).programs == memory.PROGRAM


def test_an_estimate_fits_in_what_is_usable_or_not(posed, whole, limit):
    for usable in (whole.total - 1, whole.total):
        limit(usable)
        found = memory.estimate(posed)
        assert (found.usable, found.fits) == (usable, usable == whole.total)


def test_what_fits_is_left_alone(posed, limit):
    limit(2**40)
    assert memory.fit(posed)[0] is posed or memory.fit(posed)[0].program == posed.program


def test_the_history_shrinks_first_then_features_are_computed_twice(posed, whole, limit):
    posed = replace(posed, open=("history", "recompute"))
    pair = 2 * posed.content.nbytes
    limit(whole.total - 30 * pair)
    fitted, found = memory.fit(posed)
    assert history(fitted) in (69, 70)
    assert fitted.program.recompute == ()
    assert found.fits
    last = replace(posed.program, recompute=(3, 4), breadth=4)
    twice = memory.estimate(replace(posed, program=last))
    assert twice.features <= whole.features
    limit(twice.total - 90 * pair)
    fitted, found = memory.fit(posed)
    assert fitted.program.recompute == (3, 4)
    assert memory.FEWEST <= history(fitted) <= 10
    assert found.fits
    assert "blocks 1 to 4 computed twice, in small tiles" in memory.table(fitted, found)


def test_then_the_history_is_kept_on_disk(posed, whole, limit, monkeypatch):
    monkeypatch.setattr(streamed, "CHUNK", 64)
    pair = 2 * posed.content.nbytes
    limit(whole.total - 85 * pair)
    fitted, found = memory.fit(posed)
    solver = fitted.program.solver
    assert (solver.history_on, solver.history_type, solver.history) == ("disk", "bfloat16", 100)
    assert fitted.program.recompute == ()
    assert found.fits
    assert "L-BFGS with 100 pairs on the disk, in bfloat16" in memory.table(fitted, found)
    hosted = replace(fitted.program, solver=replace(solver, history_on="host", history_type="float32"))
    more = memory.estimate(replace(fitted, program=hosted)).optimiser - found.optimiser
    assert more == 100 * pair + pair


def test_small_tiles_and_direct_convolutions_come_last(posed, limit, monkeypatch):
    """Tiles of a small picture are the picture: here the estimates say what they would be of a large one."""
    found = memory.Estimate(100, 100, 100, 0, 0, held=0, usable=250)

    def estimate(problem, shapes=None):
        program = problem.program
        tried.append((program.recompute, program.breadth, program.network.engine))
        features = {16: 100, 8: 80, 4: 60}[program.breadth]
        network = 100 if program.network.engine == "auto" else 40
        return replace(found, features=features, network=network, usable=usable)

    monkeypatch.setattr(memory, "estimate", estimate)
    auto = problem((posed.content, posed.paintings[0].image), posed.network, {"network.engine": "auto"})
    closed = replace(auto, open=("recompute", "engine"))
    for room, last in ((265, ((3, 4), 4, "auto")), (200, ((3, 4), 4, "direct"))):
        usable, tried = room, []
        fitted, told = memory.fit(closed)
        assert told.fits
        assert tried[-1] == last
        assert "in small tiles" in memory.table(fitted, told)
        assert ("direct engine" in memory.table(fitted, told)) == (last[2] == "direct")
    usable, tried = 190, []
    with pytest.raises(NstError, match="needs about"):
        memory.fit(closed)


def test_what_the_user_chose_is_not_changed(posed, limit):
    values = {"solver.history": 50, "solver.history_on": "device", "memory": "fast"}
    chosen = problem((posed.content, posed.paintings[0].image), posed.network, values)
    limit(memory.estimate(chosen).total - 1)
    with pytest.raises(NstError, match="56 x 40 needs about"):
        memory.fit(chosen)


def test_a_refusal_has_the_numbers_and_a_size_that_would_fit(posed, whole, limit):
    limit(whole.network)
    with pytest.raises(NstError, match=r"needs about \d+ MiB .* for the network.*free some memory"):
        memory.fit(replace(posed, open=()))
    large = replace(posed, content=np.zeros((400, 300, 3), np.float32), open=())
    limit(memory.estimate(large).total // 2)
    with pytest.raises(NstError, match=r"use size \d+") as refusal:
        memory.fit(large)
    size = int(str(refusal.value).split("use size ")[1].split(",")[0])
    smaller = replace(large, content=np.zeros((size, size * 3 // 4, 3), np.float32))
    assert memory.estimate(smaller).fits


def test_what_is_left_of_a_limit_is_used_last(posed, limit, monkeypatch):
    found = memory.Estimate(10, 0, 0, 0, 0, held=40, usable=55)
    monkeypatch.setattr(memory, "estimate", lambda problem, shapes=None: replace(found, features=taken))
    closed = lambda most: replace(posed, open=(), settings=posed.settings.with_values({"memory_limit": most}))
    taken = 50
    assert memory.fit(closed(100))[1].total == 60
    taken = 51
    with pytest.raises(NstError, match="a memory limit of at least"):
        memory.fit(closed(100))
    taken = 50
    with pytest.raises(NstError, match="can be used"):  # it is not the limit that bounds it
        memory.fit(closed(1000))


def test_a_limit_bounds_a_run(pair, network):
    with pytest.raises(NstError, match="a memory limit of at least"):
        solve(problem(pair, network, {"memory_limit": 2**20}))
    found = solve(problem(pair, network, {"memory_limit": 2**40, "solver.evaluations": 2}))
    assert found.evaluations == 2


def test_the_estimate_counts_what_scipy_takes(pair, network):
    ours, scipys = (
        problem(pair, network, {"solver.kind": kind, "solver.history": 9}) for kind in ("lbfgs", "lbfgsb")
    )
    found = memory.estimate(scipys)
    content = ours.content
    rest = [
        memory.estimate(ours).optimiser - 2 * 9 * content.nbytes,
        found.optimiser - scipy_lbfgsb.nbytes(content.size, 9),
    ]
    assert rest[0] == pytest.approx(rest[1], abs=2 * content.nbytes)
    assert found.total == found.network + found.optimiser + found.features + found.kept
    assert "SciPy's L-BFGS-B with 9 pairs" in memory.table(scipys, found)


def test_a_table_says_what_is_taken(posed, whole):
    lines = memory.table(posed, whole).splitlines()
    assert lines[0] == "a picture of 56 x 40, 12 evaluations"
    assert [line.split()[0] for line in lines[1:]] == [
        *("held", "network", "optimiser", "features", "kept", "together", "usable"),
    ]
    assert "L-BFGS with 100 pairs" in lines[3]
    assert "all kept" in lines[4]
    assert whole.held >= 2**26  # by Python and JAX
    together = f"together   {memory.gib(whole.held + whole.total):>10}"
    assert lines[6].rstrip() == together


def test_bytes_in_words():
    assert [memory.gib(n) for n in (3 * 2**20, 3 * 2**29)] == ["3 MiB", "1.50 GiB"]


def test_what_is_tried_counts_against_what_was_free_before(posed, whole, limit, monkeypatch):
    """Programs that did not fit take memory too, until they are let go of: they are no reason to refuse."""
    seen, pair = [], 2 * posed.content.nbytes
    free = iter([0, whole.total - 30 * pair, 0, 0, 0])  # the first: with programs of other sizes
    monkeypatch.setattr(machine, "usable", lambda devices, limit: next(free))
    monkeypatch.setattr(memory, "forget_compiled", lambda: seen.append(1))
    fitted, found = memory.fit(posed)
    assert found.fits
    assert history(fitted) in (69, 70)
    assert seen

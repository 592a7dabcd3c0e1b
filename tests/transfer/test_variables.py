import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import grid, problem, settings, solve, solve_all

from nst_jax.errors import SettingError
from nst_jax.transfer import checkpoints, memory, pyramid, stretch, variables
from nst_jax.transfer.pictures import Pictures, Places
from nst_jax.transfer.problem import make_problem
from nst_jax.transfer.variables import bands_of, packed, picture, resized, unpacked

BANDS = {"pyramid.variables": "laplacian"}
CARRIED = {"solver.kind": "adam", "solver.carry": True, "solver.averaging": 0.9, "solver.evaluations": 6}
SIZES = [(1, 1), (2, 7), (5, 5), (24, 32), (37, 64)]


def image_of(random, *size):
    return jnp.asarray(random.normal(size=(*size, 3)), jnp.float32)


def test_bands_are_halves_rounded_up():
    assert bands_of((37, 64)) == ((37, 64), (19, 32), (10, 16), (5, 8), (3, 4), (2, 2))
    assert bands_of((1024, 768))[-1] == (32, 24)
    assert bands_of((2, 700)) == ((2, 700),)
    assert bands_of((48, 80), wrap=True) == ((48, 80), (24, 40), (12, 20), (6, 10), (3, 5))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_is_the_sum_of_its_bands(random, size, wrap):
    image, bands = image_of(random, *size), bands_of(size, wrap=wrap)
    x = packed(image, bands, wrap=wrap)
    assert x.size * 4 == variables.nbytes(bands, image.shape)
    np.testing.assert_allclose(picture(x, bands, wrap=wrap), image, atol=1e-6)


def test_without_bands_there_are_pixels(random):
    image = image_of(random, 5, 4)
    assert packed(image, ()) is image is picture(image, ())
    assert variables.nbytes((), image.shape) == image.nbytes


def halved(image):
    """Return means of blocks, pixel by pixel."""
    rows, columns = (-(-n // 2) for n in image.shape[:2])
    blocks = [[image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for j in range(columns)] for i in range(rows)]
    return np.array([[block.mean((0, 1)) for block in row] for row in blocks])


def doubled(image, size, *, wrap):
    """Return an image enlarged, pixel by pixel: linear between centres, that of pixel i at 2 i + 1/2."""

    def at(n, place):
        low = int(np.floor(place))
        share = place - low
        ends = [(k % n if wrap else min(max(k, 0), n - 1)) for k in (low, low + 1)]
        return [(ends[0], 1 - share), (ends[1], share)]

    found = np.zeros((*size, 3))
    for i, j in np.ndindex(*size):
        for row, a in at(image.shape[0], (i - 0.5) / 2):
            for column, b in at(image.shape[1], (j - 0.5) / 2):
                found[i, j] += a * b * image[row, column]
    return found


@pytest.mark.parametrize("wrap", [False, True])
def test_bands_are_what_enlarging_lacks(random, wrap):
    image = image_of(random, *((12, 20) if wrap else (13, 22)))
    bands = bands_of(image.shape[:2], wrap=wrap)
    left = np.float64(image)
    for number, band in enumerate(unpacked(packed(image, bands, wrap=wrap), bands)):
        smaller = halved(left)
        last = number == len(bands) - 1
        wanted = left if last else left - doubled(smaller, left.shape[:2], wrap=wrap)
        np.testing.assert_allclose(band, 2**number * wanted, atol=1e-5)
        left = smaller


def test_a_torus_has_no_border(random):
    image = image_of(random, 16, 32)
    bands = bands_of((16, 32), wrap=True)
    moved = packed(jnp.roll(image, (8, 24), (0, 1)), bands, wrap=True)
    still = unpacked(packed(image, bands, wrap=True), bands)
    for number, (a, b) in enumerate(zip(unpacked(moved, bands), still, strict=True)):
        np.testing.assert_allclose(a, np.roll(b, (8 >> number, 24 >> number), (0, 1)), atol=1e-5)
    np.testing.assert_allclose(picture(moved, bands, wrap=True), jnp.roll(image, (8, 24), (0, 1)), atol=1e-6)


def test_gradients_of_all_bands_are_of_one_length(random):
    """Of an image, each band's gradient by the linear map, transposed: sums over what a pixel becomes."""
    bands = bands_of((64, 64))
    x = packed(image_of(random, 64, 64), bands)
    g = jnp.ones((64, 64, 3))
    (found,) = jax.vjp(lambda x: picture(x, bands), x)[1](g)
    for number, band in enumerate(unpacked(found, bands)):
        np.testing.assert_allclose(band, 2.0**number * np.ones_like(band), atol=1e-4)  # 4^i pixels, over 2^i
    assert jnp.vdot(found, x) == pytest.approx(float(jnp.vdot(g, picture(x, bands))), rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("is_packed", [False, True])
def test_what_belongs_to_variables_is_resized_band_by_band(is_packed):
    ramp = jnp.stack([jnp.mgrid[:6, :8][1] + 0.5] * 3, -1)  # a share of the width, at the centre of a pixel
    before, bands = (bands_of(size) if is_packed else () for size in ((6, 8), (12, 16)))
    x = jnp.concatenate([ramp.reshape(-1, 3), jnp.full((12 + 4, 3), 7.0)]) if is_packed else ramp
    shape = (12 * 16 + 6 * 8 + 3 * 4 + 2 * 2, 3) if is_packed else (12, 16, 3)
    found = resized(x, before, bands, shape)
    assert found.shape == shape
    finest = unpacked(found, bands)[0] if is_packed else found
    np.testing.assert_allclose(finest[:, 1:-1], 0.5 * (np.mgrid[:12, 1:15][1][..., None] + 0.5) * np.ones(3))
    if is_packed:
        np.testing.assert_allclose(found[12 * 16 :], 7.0)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"solver.kind": "adam"},
        {"solver.linesearch": "zoom"},
        {"style.kind": "strotss", "style.layers": ("conv1_1", "conv2_1")},
        {"style.kind": "patch", "style.layers": ("conv2_1",), "patch.rematch": 3},
        {"pyramid.levels": 2, "pyramid.factor": 1.5},
    ],
    ids=lambda values: next(iter(values.values()), "gram"),
)
def test_bands_are_optimised_by_every_kind_of_run(pair, network, values):
    looks = []
    posed = problem(pair, network, BANDS | {"solver.evaluations": 20} | values)
    found = solve(posed, looks.append)
    assert found.loss < looks[-1].initial_loss[0]
    np.testing.assert_array_equal(looks[-1].raw()[0], found.image)
    assert found.image.shape == (24, 32, 3)
    assert not np.array_equal(found.image, solve(problem(pair, network, values)).image)


def test_a_run_on_bands_begins_with_the_first_image(pair, network):
    one, other = (
        solve(problem(pair, network, values | {"solver.evaluations": 1, "init": "noise"}))
        for values in ({}, BANDS)
    )
    np.testing.assert_allclose(one.image, other.image, atol=1e-5)
    assert one.loss == pytest.approx(other.loss, rel=1e-4)


@pytest.mark.parametrize("values", [BANDS, CARRIED, BANDS | CARRIED], ids=["bands", "carried", "both"])
def test_batches_are_as_their_problems_alone(pair, network, values):
    ready = grid(pair, network, values | {"pyramid.levels": 2}, weights=(10.0, 1e4))
    found, _ = solve_all(ready, mode="vmap")
    for index, (result, _) in found.items():
        np.testing.assert_allclose(result.image, solve(ready[index]).image, atol=2e-2)


@pytest.mark.parametrize("mode", ["threads", "vmap"])
@pytest.mark.parametrize("evaluations", [6, 9])
def test_carried_work_interrupted_at_a_level_or_between_goes_on_bit_for_bit(
    pair, network, tmp_path, mode, evaluations
):
    ready = grid(pair, network, BANDS | CARRIED | {"pyramid.levels": 3}, weights=(10.0, 1e4))
    how = {"mode": mode, "keep": tmp_path, "stamp": "this"}
    expected, _ = solve_all(ready, mode=mode)
    at_once = 2 if mode == "vmap" else 1
    early, whole = solve_all(ready, watch=lambda p: p.evaluations >= at_once * evaluations, **how)
    assert not whole
    late, whole = solve_all(ready, finished=early, **how)
    assert whole
    for index, (result, curve) in (early | late).items():
        np.testing.assert_array_equal(result.image, expected[index][0].image)
        assert curve == expected[index][1]


@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_carried_work_that_was_killed_between_levels_ends_with_the_same_bytes(
    pair, network, tmp_path, mode, monkeypatch
):
    """What is carried comes from the last state of the level before, which is all that was saved."""
    ready = grid(pair, network, CARRIED | {"pyramid.levels": 2}, weights=(10.0, 1e4))
    expected, _ = solve_all(ready, mode=mode, max_parallel=2 if mode == "vmap" else 1)
    how = {"mode": mode, "keep": tmp_path, "stamp": "this", "max_parallel": 2 if mode == "vmap" else 1}

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as world:
        world.setattr(checkpoints, "SAVE_SECONDS", 0.0)
        world.setattr(checkpoints, "SAVE_SHARE", 1e9)
        world.setattr(stretch, "carried", killed)
        with pytest.raises(KeyboardInterrupt):
            solve_all(ready, **how)
    assert checkpoints.about(tmp_path / "00000.npz")["level"] == 0
    found, whole = solve_all(ready, **how)
    assert whole
    for index, (result, curve) in found.items():
        np.testing.assert_array_equal(result.image, expected[index][0].image)
        assert curve == expected[index][1]


def test_moments_that_are_carried_change_the_next_level_only(pair, network):
    values = {"solver.kind": "adam", "pyramid.levels": 2, "solver.evaluations": 5}
    seen = {}
    for carry in (False, True):
        looks = seen.setdefault(carry, [])
        solve(problem(pair, network, values | {"solver.carry": carry}), looks.append, stops=1)
    losses = np.array([[float(look.loss[0]) for look in looks] for looks in seen.values()])
    np.testing.assert_array_equal(losses[0, :6], losses[1, :6])  # until the second level's first
    assert losses[0, 7] != losses[1, 7]


def test_the_mean_of_pictures_is_shown_and_handed_on(pair, network):
    values = {"solver.kind": "adam", "solver.averaging": 0.9, "solver.evaluations": 5, "pyramid.levels": 2}
    posed, seen, plain = problem(pair, network, values), [], []
    found = solve(posed, lambda look: seen.append(look.raw()[0]), stops=1)
    np.testing.assert_allclose(seen[5], pyramid.grown(seen[4], *pyramid.levels(posed)), atol=1e-5)
    np.testing.assert_array_equal(seen[-1], found.image)
    without = problem(pair, network, values | {"solver.averaging": 0.0})
    solve(without, lambda look: plain.append(look.raw()[0]), stops=1)
    assert not np.array_equal(seen[4], plain[4])


def test_what_is_left_alone_is_left_alone_by_bands(pair, network):
    keep = np.zeros((24, 32), np.float32)
    keep[:, :12] = 1
    posed = make_problem(Pictures(*pair, places=Places(keep=keep)), settings(BANDS), network)
    found = solve(posed)
    np.testing.assert_array_equal(found.image[:, :12], pair[0][:, :12])
    assert not np.array_equal(found.image[:, 12:], pair[0][:, 12:])
    assert found.loss < found.initial_loss


def test_memory_counts_bands(pair, network):
    plain, bands = (
        memory.estimate(problem(pair, network, {"solver.history": 40} | values)) for values in ({}, BANDS)
    )
    n = sum(h * w for h, w in bands_of((24, 32))) / (24 * 32)
    assert bands.optimiser == pytest.approx(n * plain.optimiser, rel=0.02)
    large = np.zeros((900, 800, 3), np.float32)
    values = {"pyramid.levels": 1, "solver.history": None}
    few, many = (
        problem((large, large), network, values | more).program.solver.history for more in (BANDS, {})
    )
    assert many == 2**29 // (2 * large.nbytes)
    assert few == pytest.approx(0.75 * many, abs=1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (BANDS | {"solver.kind": "lbfgsb"}, "pyramid.variables: solver.kind lbfgsb bounds pixels"),
        ({"solver.averaging": 0.9}, "solver.averaging: is of adam, solver.kind is lbfgs"),
        ({"solver.carry": True, "solver.kind": "lbfgsb"}, "solver.carry: is of adam, solver.kind is lbfgsb"),
    ],
)
def test_what_does_not_go_together(pair, network, values, sentence):
    with pytest.raises(SettingError, match=f"^{sentence}"):
        problem(pair, network, values)


def test_a_torus_of_bands_is_solved(network, random):
    style = np.float32(random.uniform(size=(40, 60, 3)))
    values = BANDS | {"network.padding": "wrap", "pyramid.levels": 2, "size": (48, 32), "init": "noise"}
    found = solve(problem((None, style), network, values))
    assert found.image.shape == (32, 48, 3)
    assert found.status == "finished"

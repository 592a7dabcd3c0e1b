"""The normalised network, against means over NumPy's features and digests taken by hand."""

import functools
import hashlib
import json
import shutil
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from makers import NARROW
from PIL import Image

from nst_jax import cli
from nst_jax.architecture import VGG19, kernel_shapes
from nst_jax.errors import ImageError, OutputError
from nst_jax.pretrained import files as weights
from nst_jax.pretrained import fingerprint, normalisation

SIZES = ((33, 50), (20, 20), (64, 37), (33, 50))


@pytest.fixture
def pictures(random):
    return [np.uint8(random.integers(0, 256, (*size, 3))) for size in SIZES]


@pytest.fixture
def world(tmp_path, monkeypatch, narrow, pictures):
    """A folder with a narrow network and a folder of photographs."""
    monkeypatch.chdir(tmp_path)
    narrowed = {
        name: functools.partial(getattr(weights, name), blocks=NARROW) for name in ("read", "describe")
    }
    for name, function in narrowed.items():
        monkeypatch.setattr(weights, name, function)
    weights.write(tmp_path / "narrow.h5", narrow, source="test", sha256="", licence="CC0")
    monkeypatch.setenv("NST_JAX_WEIGHTS", str(tmp_path / "narrow.h5"))
    (tmp_path / "photos").mkdir()
    for name, picture in zip("abcd", pictures, strict=True):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path


def normalise(*arguments, photos="photos"):
    return cli.run(["weights", "normalise", "--photos", photos, *arguments])


def wanted_means(narrow, pictures, pool="avg", padding="zero"):
    """Means by NumPy, of all positions of all pictures."""
    mean = np.array([103.939, 116.779, 123.68])
    every = [reference.vgg(narrow, np.float64(p[:, :, ::-1]) - mean, pool, padding) for p in pictures]
    flat = lambda name: np.concatenate([x[name].reshape(-1, x[name].shape[-1]) for x in every])
    return {name: flat(name).mean(0) for name in VGG19.layers}


def raised(mean):
    """What a filter is divided by, by the rule for faint ones."""
    return np.where(mean < 0.05 * mean.mean(), 0.05 * mean.mean(), mean)


# The command


@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_the_written_network_has_mean_activation_one_and_the_same_function(
    world, narrow, pictures, capsys, random, pool, padding
):
    assert normalise("--pool", pool, "--padding", padding) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(f"normalised-{pool}.h5\n")
    assert f"for {pool} pooling and {padding} padding, over 4 photographs" in out
    params, found = weights.read(f"normalised-{pool}.h5")
    assert (found.source, found.licence, found.normalised.photos) == ("narrow.h5", "CC0", 4)
    assert found.source_sha256 == hashlib.sha256((world / "narrow.h5").read_bytes()).hexdigest()

    means = wanted_means(narrow, pictures, pool, padding)
    for name, after in wanted_means(params, pictures, pool, padding).items():
        loud = means[name] >= 0.05 * means[name].mean()
        np.testing.assert_allclose(after[loud], 1, rtol=1e-4)
        assert (after[~loud] < 1).all()

    x = random.normal(0, 60, (40, 33, 3))
    before, after = (reference.vgg(p, x, pool, padding) for p in (narrow, params))
    for name in before:
        again = after[name] * raised(means[name])
        np.testing.assert_allclose(again, before[name], rtol=1e-5, atol=1e-5 * before[name].max())


def test_names_and_order_do_not_matter_and_a_second_run_gives_the_same_bytes(world, capsys):
    assert normalise() == 0
    first = (world / "normalised-avg.h5").read_bytes()
    assert normalise() == 0  # a normalised network is replaced
    assert (world / "normalised-avg.h5").read_bytes() == first
    (world / "renamed").mkdir()
    for old, new in zip("abcd", "zyxw", strict=True):
        shutil.copy(world / "photos" / f"{old}.png", world / "renamed" / new)
    assert normalise("--output", "other.h5", photos="renamed") == 0
    assert (world / "other.h5").read_bytes() == first
    (world / "renamed" / "w").unlink()
    assert normalise("--output", "other.h5", photos="renamed") == 0
    assert (world / "other.h5").read_bytes() != first


def test_files_that_are_no_photographs_are_skipped_with_a_note(world, capsys):
    assert normalise("--output", "wanted.h5") == 0
    capsys.readouterr()
    damaged = (world / "photos" / "a.png").read_bytes()[:1500]
    (world / "photos" / "damaged.png").write_bytes(damaged)
    (world / "photos" / "notes\n.txt").write_text("no picture")
    Image.new("RGB", (400, 9)).save(world / "photos" / "thin.png")
    (world / "photos" / "folder").mkdir()
    assert normalise() == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert notes == [
        "nst-jax: skipped 3 files, not a picture, damaged or too small: damaged.png, 'notes\\n.txt', thin.png"
    ]
    assert (world / "normalised-avg.h5").read_bytes() == (world / "wanted.h5").read_bytes()


def test_faint_filters_are_counted(world, capsys, narrow, pictures):
    assert normalise() == 0
    means = wanted_means(narrow, pictures).values()
    count = sum(int((mean < 0.05 * mean.mean()).sum()) for mean in means)
    assert count > 0
    assert f"{count} of {sum(map(len, means))} filters hardly fire" in capsys.readouterr().err


def test_progress_is_for_the_terminal(world, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert normalise() == 0
    assert "of 4: photographs measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([], "required: --photos"),
        (["--photos", "nowhere"], "nowhere: should be a folder of photographs: No such file"),
        (["--photos", "narrow.h5"], "narrow.h5: should be a folder of photographs: Not a directory"),
        (["--photos", "empty"], "empty: none of its 1 files is a picture"),
        (["--photos", "photos", "--size", "15"], "size: should be at least 16 pixels, got 15"),
        (["--photos", "photos", "--size", "big"], "invalid int value: 'big'"),
        (["--photos", "photos", "--pool", "sum"], "invalid choice: 'sum'"),
        (["--photos", "photos", "--weights", "normal.h5"], "normal.h5: is normalised already"),
        (["--photos", "photos", "--weights", "compact"], "brings its mean activations along"),
        (["--photos", "photos", "--weights", "gone.h5"], "gone.h5: no such file"),
        (
            ["--photos", "photos", "--output", "narrow.h5"],
            "narrow.h5: exists and is not a normalised network",
        ),
        (["--photos", "photos", "--output", "photos/a.png"], "a.png: exists and is not a normalised network"),
        (["--photos", "photos", "--output", "photos"], "photos: exists and is not a normalised network"),
        (["--photos", "photos", "--output", "no/x.h5"], "no/x.h5: the folder no does not exist"),
        (["--photos", "photos", "--means", "photos/a.png"], "a.png: exists and is not a file of means"),
        (["--photos", "photos", "--means", "other.json"], "other.json: exists and is not a file of means"),
        (["--photos", "photos", "--means", "no/x.json"], "no/x.json: the folder no does not exist"),
        (["--photos", "photos", "--means", "x.json", "--output", "x.h5"], "not allowed with argument"),
    ],
)
def test_mistakes_are_one_line_and_cost_no_file(world, narrow, capsys, arguments, phrase):
    over = weights.Normalisation("avg", "zero", 4, 512, "ab" * 32)
    weights.write(world / "normal.h5", narrow, source="", sha256="", licence="", normalised=over)
    (world / "empty").mkdir()
    (world / "empty" / "notes.txt").write_text("no picture")
    (world / "other.json").write_text('{"mine": [1, 2]}')
    contents = lambda: {p: p.read_bytes() for p in world.rglob("*") if p.is_file()}
    before = contents()
    assert cli.run(["weights", "normalise", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert phrase in line
    assert contents() == before


# Photographs


def test_the_digest_is_of_pixels_and_shapes(world, pictures):
    each = sorted(hashlib.sha256(f"{p.shape}".encode() + p.tobytes()).hexdigest() for p in pictures)
    photos = normalisation.find_photos(world / "photos", size=512)
    assert photos.sha256 == hashlib.sha256("\n".join(each).encode()).hexdigest()
    assert normalisation.find_photos(world / "photos", size=30).sha256 == photos.sha256


def test_the_longer_side_is_bounded(world):
    photos = normalisation.find_photos(world / "photos", size=32)
    assert sorted(photo.shape for photo in photos.photos) == [(20, 20), (21, 32), (21, 32), (32, 18)]


def test_a_photograph_that_goes_away_is_told(world, narrow):
    photos = normalisation.find_photos(world / "photos", size=512)
    (world / "photos" / "b.png").unlink()
    with pytest.raises(ImageError, match=r"b\.png: no such file"):
        normalisation.measure(narrow, photos)


def test_a_target_that_appears_meanwhile_is_kept(world, narrow):
    photos = normalisation.find_photos(world / "photos", size=512)
    params, found = normalisation.read_original(world / "narrow.h5")
    means = normalisation.measure(params, photos)
    target = world / "target.h5"
    target.write_text("mine")
    with pytest.raises(OutputError, match="so it is kept"):
        normalisation.write(target, params, means, photos, found=found, pool="avg", padding="zero")
    assert target.read_text() == "mine"


def test_the_network_itself_is_no_target(world, narrow):
    photos = normalisation.find_photos(world / "photos", size=512)
    params, found = normalisation.read_original(world / "narrow.h5")
    means = normalisation.measure(params, photos)
    before = (world / "narrow.h5").read_bytes()
    (world / "link.h5").symlink_to("narrow.h5")
    options = {"found": found, "pool": "avg", "padding": "zero"}
    for target in (world / "narrow.h5", world / "link.h5", world / "photos" / ".." / "narrow.h5"):
        with pytest.raises(OutputError, match="is the file that is read"):
            normalisation.write(target, params, means, photos, **options)
        with pytest.raises(OutputError, match="is the file that is read"):
            normalisation.write_means(target, params, means, photos, command="", **options)
    assert (world / "narrow.h5").read_bytes() == before
    assert (world / "link.h5").is_symlink()


# Means in a data file


def test_means_are_added_for_each_pooling(world, narrow, pictures, capsys):
    for pool in ("max", "avg"):
        assert normalise("--pool", pool, "--means", "means.json") == 0
        assert capsys.readouterr().out == f"means.json: means for {pool} pooling over 4 photographs\n"
    first = (world / "means.json").read_bytes()
    assert normalise("--pool", "max", "--means", "means.json") == 0
    assert (world / "means.json").read_bytes() == first
    assert list(json.loads(first)) == ["vgg19"]
    entries = json.loads(first)["vgg19"]
    assert list(entries) == ["avg", "max"]
    for pool, entry in entries.items():
        for name, mean in wanted_means(narrow, pictures, pool).items():
            np.testing.assert_allclose(entry["means"][name], mean, rtol=1e-5, atol=1e-6 * mean.max())
            assert all(m == float(f"{m:.6g}") for m in entry["means"][name])
        assert entry["digest"] == weights.digest(narrow)
        assert fingerprint.matches(entry["fingerprint"], narrow)
        assert entry["photos"] == 4
        assert entry["photos_sha256"] == normalisation.find_photos(world / "photos", size=512).sha256
    assert entries["avg"]["command"] == "nst-jax weights normalise --photos photos --means means.json"
    assert entries["max"]["command"].split(" --pool ")[1] == "max --means means.json"


def test_the_recorded_command_names_no_folder_of_this_machine(world):
    arguments = ["--weights", str(world / "narrow.h5"), "--size", "40", "--means", str(world / "means.json")]
    assert normalise(*arguments, photos=str(world / "photos")) == 0
    entry = json.loads((world / "means.json").read_text())["vgg19"]["avg"]
    wanted = "nst-jax weights normalise --photos photos --size 40 --weights narrow.h5 --means means.json"
    assert entry["command"] == wanted


def eight_bits(array):
    step = np.abs(array).max() / 127
    return np.rint(array / step) * step


ROUNDED = {
    "float16": lambda array: array.astype(np.float16),
    "bfloat16": lambda array: array.astype(jnp.bfloat16),
    "8 bits for each layer": eight_bits,
    "kernels of 8 bits": lambda array: eight_bits(array) if array.ndim == 4 else array,
}


@pytest.fixture(scope="module")
def shipped():
    return json.loads(files("nst_jax.pretrained").joinpath("mean_activations.json").read_text())["vgg19"]


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_shipped_means_are_for_vgg19(shipped, pool):
    means = shipped[pool]["means"]
    assert list(means) == list(VGG19.layers)
    assert [len(m) for m in means.values()] == [shape[-1] for shape in kernel_shapes().values()]
    values = np.concatenate(list(means.values()))
    assert len(values) == 5504
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert shipped[pool]["command"].startswith("nst-jax weights normalise --photos photos")
    assert shipped[pool]["padding"] == "zero"


def test_shipped_means_were_measured_on_the_real_network(real_weights, shipped):
    params, found = weights.read(real_weights)
    for pool, entry in shipped.items():
        assert entry["fingerprint"] == fingerprint.of(params)
        known = normalisation.shipped_means(params, pool)
        np.testing.assert_array_equal(known["conv4_2"], np.float32(entry["means"]["conv4_2"]))
    if found.digest != entry["digest"]:
        pytest.skip("another copy of VGG-19 than the one measured")


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("rounded", ROUNDED)
def test_shipped_means_serve_copies_of_less_precision(real_weights, shipped, rounded, pool):
    params, _ = weights.read(real_weights)
    copy = jax.tree.map(lambda array: np.float32(ROUNDED[rounded](np.asarray(array))), params)
    means = normalisation.shipped_means(copy, pool)
    for name, mean in shipped[pool]["means"].items():
        np.testing.assert_array_equal(means[name], np.float32(mean))


def test_shipped_means_are_for_no_network_with_another_layer(real_weights):
    params, _ = weights.read(real_weights)
    layer = params["conv5_1"]
    order = np.random.default_rng(0).permutation(512)
    for changed in (
        {"bias": layer["bias"] + 0.05},
        {"kernel": layer["kernel"] * 1.1},
        {"kernel": layer["kernel"][::-1, ::-1]},
        {"kernel": layer["kernel"][..., order], "bias": layer["bias"][order]},
    ):
        assert normalisation.shipped_means(params | {"conv5_1": layer | changed}, "avg") is None
    colours = params["conv1_1"] | {"kernel": params["conv1_1"]["kernel"][:, :, ::-1]}
    assert normalisation.shipped_means(params | {"conv1_1": colours}, "avg") is None


def test_shipped_means_are_for_no_other_network(narrow):
    assert normalisation.shipped_means(narrow, "avg") is None
    other = {n: {"kernel": np.zeros(s), "bias": np.zeros(s[-1])} for n, s in kernel_shapes().items()}
    assert normalisation.shipped_means(other, "avg") is None


def test_shipped_means_are_not_read_unless_needed(narrow, monkeypatch):
    monkeypatch.setattr(normalisation, "_shipped", lambda: pytest.fail("read"))
    assert normalisation.shipped_means(narrow, "avg") is None

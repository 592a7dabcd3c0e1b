import numpy as np
import paint_samples
import pytest

from nst_jax import samples

PAINTINGS = [name for name, sample in samples.CREDITS.items() if sample.kind == "style"]
"""These take a second each: they are compared where they are painted anyway, in the painters' own tests."""


def test_every_sample_has_its_file_and_its_maker():
    files = {file.stem for file in paint_samples.DATA.glob("*.webp")}
    assert files == set(paint_samples.PICTURES) == set(samples.names())
    assert sum(file.stat().st_size for file in paint_samples.DATA.iterdir()) < 4e6
    credits_page = (paint_samples.DATA / "CREDITS.md").read_text()
    assert [name for name in files if name not in credits_page and not name.endswith("_sem")] == []


@pytest.mark.parametrize("name", [name for name in samples.names() if name not in PAINTINGS])
def test_files_hold_what_is_made(name):
    made = paint_samples.PICTURES[name]()
    assert samples.load(name).tobytes() == (made.astype(np.float32) / np.float32(255)).tobytes()


def test_only_what_has_changed_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paint_samples, "DATA", tmp_path)
    name, path = "chelsea_sem", tmp_path / "chelsea_sem.webp"
    paint_samples.main([name])
    first = path.read_bytes()
    np.testing.assert_array_equal(paint_samples.stored(path), paint_samples.PICTURES[name]())
    path.write_bytes(paint_samples.packed(np.zeros((2, 2, 3), np.uint8)))
    paint_samples.main([name])
    assert path.read_bytes() == first
    paint_samples.main([name])
    assert capsys.readouterr().out.splitlines()[-1] == "chelsea_sem.webp: unchanged"

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from makers import paint_sweep, sweep_settings

from nst_jax import config, images
from nst_jax.errors import OutputError
from nst_jax.runs import gallery

pytestmark = pytest.mark.usefixtures("world")


def shown(folder):
    """Return the data in a page."""
    text = (folder / "index.html").read_text()
    (data,) = re.findall(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', text, flags=re.S)
    return json.loads(data)


def test_the_page_holds_every_cell(world):
    axes = [{"style.weight": [10.0, 1e-5], "title": "β"}, {"seed": [3, 4], "labels": ["one", "two"]}]
    outcome, _ = paint_sweep(sweep_settings(axes=axes, init="noise"))
    data = shown(world / "grid")
    assert data["title"] == "photo × art"
    assert data["axes"] == [
        {"title": "β", "labels": ["10", "1e-5"]},
        {"title": "seed", "labels": ["one", "two"]},
    ]
    assert [cell["position"] for cell in data["cells"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    for index, cell in enumerate(data["cells"]):
        record = json.loads((world / "grid" / "cells" / f"{index:04d}.json").read_text())
        assert (cell["loss"], cell["status"]) == (record["result"]["loss"], "finished")
        assert [p["loss"] for p in cell["curve"]] == pytest.approx(
            [p["loss"] for p in record["curve"]], rel=1e-5
        )
        assert cell["settings"] == record["settings"]
        assert cell["command"] == (
            f"nst-jax --replay grid/cells/{index:04d}.png --size 48 --output larger_{index:04d}.png"
        )
    assert data["facts"]["content"] == "photo.png"
    assert "style.weight" not in data["facts"]
    assert outcome.collection.best.endswith(("seed 3", "seed 4"))


def test_what_is_swept_is_no_fact_and_no_title(world):
    paint_sweep(sweep_settings(axes={"style": ["art.png", "photo.png"]}))
    data = shown(world / "grid")
    assert data["title"] == "photo × several styles"
    assert "style" not in data["facts"]


def test_collecting_needs_the_folder_only(world):
    paint_sweep(sweep_settings())
    before = {name: (world / "grid" / name).read_bytes() for name in ("sheet.png", "index.html")}
    for name in (*before, "../photo.png", "../art.png", "../narrow.h5"):
        (world / "grid" / name).unlink()
    found = gallery.collect(world / "grid")
    assert (found.cells, found.missing, found.not_finite) == (6, (), ())
    assert (world / "grid" / "sheet.png").read_bytes() == before["sheet.png"]


def test_missing_damaged_and_failed_cells(world, exploding):
    paint_sweep(sweep_settings(axes={"style.weight": [1.0, exploding, 2.0, 3.0]}))
    (world / "grid" / "cells" / "0002.png").write_bytes(b"no picture")
    (world / "grid" / "cells" / "0003.json").unlink()
    found = gallery.collect(world / "grid")
    assert (found.missing, found.not_finite) == ((2, 3), (1,))
    assert [cell["status"] for cell in shown(world / "grid")["cells"]] == [
        "finished",
        "not finite",
        "missing",
        "missing",
    ]


def test_the_sheet_shows_the_pictures_where_they_belong(world, random):
    """Cells of one colour each, found again on the sheet in the order of the axes."""
    paint_sweep(sweep_settings())
    colours = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
    for index, colour in enumerate(colours):
        images.write(world / "grid" / "cells" / f"{index:04d}.png", np.ones((18, 24, 3), np.float32) * colour)
    gallery.collect(world / "grid")
    sheet = images.read(world / "grid" / "sheet.png").rgb
    middles = [np.argwhere((sheet == colour).all(-1)).mean(0) for colour in colours]
    rows, columns = np.array(middles).reshape(2, 3, 2).transpose(2, 0, 1)
    assert np.ptp(rows, axis=1).max() == 0
    assert np.ptp(columns, axis=0).max() == 0
    assert rows[0, 0] < rows[1, 0]
    assert columns[0, 0] < columns[0, 1] < columns[0, 2]


def test_folders_of_something_else(world):
    for name, text in (
        ("a", None), ("b", "{}"), ("c", "no json"), ("d", '{"kind": "sweep"}'),
        ("e", '{"kind": "sweep", "config": 5, "encoder": {}, "inputs": {}, "versions": {}}'), ("f", "[]"),
    ):  # fmt: skip
        (world / name).mkdir()
        if text:
            (world / name / "sweep.json").write_text(text)
        with pytest.raises(OutputError, match=f"{name}: "):
            gallery.collect(world / name)
    with pytest.raises(OutputError, match="nowhere"):
        gallery.collect(world / "nowhere")


def test_a_folder_of_settings_unknown_here_is_said(world):
    paint_sweep(sweep_settings(), shard=(1, 6))
    path = world / "grid" / "sweep.json"
    record = json.loads(path.read_text())
    record["config"]["brushes"] = 7
    path.write_text(json.dumps(record))
    with pytest.raises(OutputError, match="cannot be shown: brushes: unknown key"):
        gallery.collect(world / "grid")


def test_the_page_is_smaller_for_a_large_grid(world, monkeypatch):
    sides = []
    watched = vars(images) | {"bounded": lambda rgb, side: sides.append(side) or images.bounded(rgb, side)}
    monkeypatch.setattr(gallery, "images", SimpleNamespace(**watched))
    paint_sweep(sweep_settings(axes={"seed": [0, 1]}))
    monkeypatch.setattr(gallery, "_LARGE_GRID", 1)
    gallery.collect(world / "grid")
    assert set(sides) == {gallery.CELL, gallery.CELL // 2, gallery.SHOWN, gallery.SHOWN // 2}
    assert config.load(world / "grid" / "config.yaml").sweep.axes


@pytest.mark.parametrize("text", ["5", "[]", '{"curve": []}', '{"curve": [], "result": 3}', "", "null"])
def test_a_record_of_something_else_is_no_cell(world, text):
    paint_sweep(sweep_settings(axes={"seed": [1, 2]}))
    (world / "grid" / "cells" / "0001.json").write_text(text)
    assert gallery.collect(world / "grid").missing == (1,)

import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import browsers
import numpy as np
import pytest
from browsers import find
from PIL import Image

from nst_jax.runs import report

SVG = "{http://www.w3.org/2000/svg}"


def metrics(*losses):
    return [
        {"evaluations": i + 1, "loss": v, "terms": {"a": v / 2, "b": v / 2}} for i, v in enumerate(losses)
    ]


def lines(svg):
    root = ElementTree.fromstring(svg)
    return [
        [tuple(map(float, p.split(","))) for p in e.get("points").split()]
        for e in root.iter(f"{SVG}polyline")
    ]


def test_a_falling_loss_is_a_falling_line_of_equal_steps_on_a_log_scale():
    curves = lines(report.loss_curve(metrics(100.0, 10.0, 1.0)))
    assert len(curves) == 3
    (x1, y1), (x2, y2), (x3, y3) = curves[0]
    assert x1 < x2 < x3
    assert y1 < y2 < y3  # downwards on the page
    assert math.isclose(y2 - y1, y3 - y2, abs_tol=0.2)


def test_names_and_title_are_escaped():
    record = [{"evaluations": 1, "loss": 2.0, "terms": {"<a&b>": 1.0}}]
    texts = [
        e.text for e in ElementTree.fromstring(report.loss_curve(record, title="<&>")).iter(f"{SVG}text")
    ]
    assert "<a&b>" in texts
    assert "<&>" in texts


def test_odd_records_still_make_a_document():
    nan = float("nan")
    for record in (
        [],
        metrics(5.0),
        metrics(0.0, 0.0),
        metrics(nan, nan),
        metrics(1e-30, 1e30),
        metrics(3.0, nan, 2.0),
    ):
        ElementTree.fromstring(report.loss_curve(record))


# The page of a sweep, as text.

NASTY = "</script><!--<b>\"&'\u2028{{data}}\\"


def jpeg(colour, size=(64, 48)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def axes(*counts):
    return [
        {"title": f"axis{number}.weight", "labels": [f"label{number}{i}" for i in range(count)]}
        for number, count in enumerate(counts)
    ]


def sweep(*counts):
    """Return a finished cell for each place of the axes; later ones have smaller losses but larger shares."""
    positions = list(np.ndindex(*counts))
    return [
        {
            "index": index,
            "position": list(position),
            "file": f"cells/{index:04}.png",
            "picture": jpeg((40 + 10 * (index % 20), 90, 160)),
            "status": "finished",
            "sentence": "finished after 3 evaluations",
            "loss": float(len(positions) - index),
            "initial_loss": 10.0 * (len(positions) - index) ** 2,
            "settings": {f"axis{n}.weight": f"label{n}{i}" for n, i in enumerate(position)},
            "curve": metrics(100.0, 10.0, float(len(positions) - index)),
            "command": f"nst-jax --replay cells/{index:04}.png --size 1024 --output big.png",
        }
        for index, position in enumerate(positions)
    ]


class Elements(HTMLParser):
    """The elements of a document: their tags and attributes, and the text in the elements by tag."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self.within = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.within = dict(attrs).get("type", tag)

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, data):
        if self.within:
            self.texts.setdefault(self.within, []).append(data)

    @property
    def data(self):
        (text,) = self.texts["application/json"]
        return json.loads(text)


def test_a_page_holds_what_it_was_given():
    cells = sweep(2, 3)
    document = Elements(report.page("A sweep", axes(2, 3), cells, facts={"size": "512"}))
    assert document.texts["title"] == ["A sweep"]
    assert document.data["facts"] == {"size": "512"}
    assert document.data["axes"] == axes(2, 3)
    assert [cell["settings"] for cell in document.data["cells"]] == [cell["settings"] for cell in cells]


def test_a_page_asks_nothing_of_the_network():
    text = report.page("A sweep", axes(2), sweep(2))
    for _, attributes in Elements(text).found:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    outside_data = re.sub(r"[A-Za-z0-9+/]{100,}", "", text)
    assert set(re.findall(r"\w+://[^\"' ]*", outside_data)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|Storage|cookie", outside_data)
    (policy,) = (a["content"] for _, a in Elements(text).found if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_no_text_can_leave_its_place():
    cell = sweep(1)[0] | {"settings": {NASTY: NASTY}, "sentence": NASTY, "status": NASTY, "command": NASTY}
    text = report.page(NASTY, [{"title": NASTY, "labels": [NASTY]}], [cell], facts={NASTY: NASTY})
    document, plain = Elements(text), Elements(report.page("", axes(1), sweep(1)))
    assert [tag for tag, _ in document.found] == [tag for tag, _ in plain.found]
    assert "".join(document.texts["title"]) == NASTY
    assert document.data["axes"] == [{"title": NASTY, "labels": [NASTY]}]
    assert document.data["facts"] == {NASTY: NASTY}
    assert document.data["cells"][0]["settings"] == {NASTY: NASTY}
    assert "\u2028" not in text.split('type="application/json"')[1]


def test_numbers_json_does_not_know_become_null():
    nan, inf = float("nan"), float("inf")
    cell = sweep(1)[0] | {"loss": nan, "initial_loss": -inf, "curve": metrics(5.0, nan, inf)}
    cell["settings"] = {"half": np.float32(0.5), "none": np.float32("nan"), "count": np.int64(7)}
    (shown,) = Elements(report.page("", axes(1), [cell])).data["cells"]
    assert shown["loss"] is shown["initial_loss"] is None
    assert [record["loss"] for record in shown["curve"]] == [5.0, None, None]
    assert shown["curve"][2]["terms"] == {"a": None, "b": None}
    assert shown["settings"] == {"half": 0.5, "none": None, "count": 7}


def test_names_of_files_become_links_and_text_that_has_no_encoding_is_written_still():
    names = ["cells/a b#1?.png", "javascript:alert(1)", "cells/\udcff.png", None]
    cells = [cell | {"file": name} for cell, name in zip(sweep(4), names, strict=True)]
    text = report.page("\udcff", axes(4), cells)
    text.encode()
    assert [cell["file"] for cell in Elements(text).data["cells"]] == [
        "cells/a%20b%231%3F.png",
        "javascript%3Aalert%281%29",
        "cells/%FF.png",
        None,
    ]


def test_a_cell_outside_of_its_axes_is_a_mistake():
    for position in ([2], [-1], [], [0, 0]):
        with pytest.raises(ValueError, match="cell 0 lies at"):
            report.page("", axes(2), [sweep(2)[0] | {"position": position}])


# The page of a sweep, in a browser.


@pytest.fixture
def show(browser, tmp_path):
    """Return what opens a page in the browser; see in the end that it neither erred nor asked for more."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)

    def opened(shape, cells, *, width=1280, height=800, **more):
        browsers.resize(browser, width, height)
        path = tmp_path / "page.html"
        path.write_text(report.page("A sweep", axes(*shape), cells, **more), encoding="utf-8")
        browser.get(path.as_uri())
        return browser

    yield opened
    assert not browser.get_log("browser")
    asked = browsers.asked(browser)
    assert asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert not [url for url in asked if url.startswith("file:") and not url.endswith("/page.html")]


def press(browser, *keys):
    from selenium.webdriver import ActionChains, Keys

    for key in keys:
        ActionChains(browser).send_keys(getattr(Keys, key, key)).perform()


def texts(browser, selector):
    return [element.get_attribute("textContent") for element in find(browser, selector)]


def focused(browser):
    return browser.execute_script("return document.activeElement.title")


def shown(browser, selector):
    return [element for element in find(browser, selector) if element.is_displayed()]


def choose(browser, value):
    (choice,) = find(browser, f"label:has(input[value={value}])")
    choice.click()


def test_cells_stand_in_a_grid_below_and_beside_their_labels(show):
    browser = show((4, 5), sweep(4, 5), facts={"encoder": "a narrow one"})
    assert texts(browser, "thead .axis") == ["axis1.weight"]
    assert texts(browser, "thead tr:last-child th") == ["axis0.weight", *(f"label1{i}" for i in range(5))]
    assert texts(browser, "tbody th[scope=row]")[:4] == [f"label0{i}" for i in range(4)]
    rows = find(browser, "[role=grid] tbody tr")
    names = [
        [b.get_attribute("title") for b in row.find_elements("css selector", "td .open")] for row in rows
    ]
    assert names == [[f"axis0.weight label0{i}, axis1.weight label1{j}" for j in range(5)] for i in range(4)]
    assert texts(browser, "#facts th") == ["encoder"]
    assert texts(browser, "#count") == ["20 pictures"]
    widths = {round(image.rect["width"]) for image in find(browser, ".cell img")}
    assert len(widths) == 1
    assert all(image.get_attribute("naturalWidth") == "64" for image in find(browser, ".cell img"))
    assert all(
        i.get_attribute("alt").startswith("Painted with axis0.weight") for i in find(browser, ".cell img")
    )


def test_further_axes_make_blocks_and_none_makes_a_list(show):
    browser = show((2, 2, 2, 3), sweep(2, 2, 2, 3))
    headings = [f"axis0.weight = label0{i}, axis1.weight = label1{j}" for i in range(2) for j in range(2)]
    assert texts(browser, "section h2") == headings
    assert len(find(browser, "section")[1].find_elements("css selector", "td .open")) == 6
    press(browser, "ARROW_DOWN", *["ARROW_DOWN"] * 2)
    assert focused(browser) == ", ".join(f"axis{n}.weight label{n}{i}" for n, i in enumerate((0, 1, 0, 0)))
    browser = show((3,), sweep(3))
    assert len(find(browser, "tbody tr")) == 1
    assert not find(browser, "tbody th[scope=row]")
    browser = show((), sweep())
    assert len(find(browser, "ol .open")) == 1
    assert not shown(browser, "#orders, #facts")
    browser = show((), [])
    assert texts(browser, "#count") == ["0 pictures"]
    press(browser, "ARROW_DOWN", "c", "v", "?")


def test_choosing_an_order_sorts_the_pictures_the_unknown_last(show):
    cells = sweep(2, 3)
    cells[1]["loss"] = math.nan
    cells[4] |= {"picture": None, "status": "missing", "loss": None, "initial_loss": None}
    browser = show((2, 3), cells)

    def losses():
        return texts(browser, "ol .caption .strong")

    choose(browser, "loss")
    assert losses() == ["1", "3", "4", "6", "unknown", "unknown"]
    choose(browser, "share")
    assert losses() == ["1.67 %", "2.5 %", "3.33 %", "10 %", "unknown", "unknown"]
    assert texts(browser, "ol li:first-child .settings") == ["axis0.weight label00", "axis1.weight label10"]
    assert shown(browser, "#note")
    choose(browser, "grid")
    assert len(find(browser, "table td .open")) == 6


def test_a_picture_is_enlarged_with_its_settings_and_curve_and_closed_again(show):
    browser = show((2, 3), sweep(2, 3))
    find(browser, ".open")[4].click()
    (dialog,) = shown(browser, "dialog")
    assert texts(browser, "#side dl:first-child dt") == ["axis0.weight", "axis1.weight"]
    assert texts(browser, "#side dl:first-child dd") == ["label01", "label11"]
    assert "finished after 3 evaluations" in dialog.text
    assert texts(browser, "#side dl:nth-of-type(2) dd") == ["2", "40", "5 %"]
    lines_ = find(browser, "#side .curve svg polyline")
    assert len(lines_) == 3
    points = [tuple(map(float, p.split(","))) for p in lines_[0].get_attribute("points").split()]
    assert points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # downwards on the page
    assert texts(browser, ".legend li span:first-of-type") == ["loss", "a", "b"]
    (command,) = texts(browser, ".command code")
    assert command == "nst-jax --replay cells/0004.png --size 1024 --output big.png"
    (link,) = find(browser, "#side a")
    assert link.get_attribute("href").endswith("/cells/0004.png")
    find(browser, ".command button")[0].click()
    assert command == browser.execute_script("return getSelection().toString()")
    press(browser, "ESCAPE")
    assert not shown(browser, "dialog")
    assert focused(browser) == "axis0.weight label01, axis1.weight label11"


def test_terms_that_are_tiny_are_left_out_of_the_curve(show):
    (cell,) = sweep(1)
    cell["curve"] = [
        {"evaluations": i, "loss": loss, "terms": {"<b>large": 2.0, "tiny": 1e-9, "none": math.nan}}
        for i, loss in enumerate([4.0, math.nan, 3.0])
    ]
    browser = show((1,), [cell])
    press(browser, "ARROW_RIGHT", "ENTER")
    assert texts(browser, ".legend li span:first-of-type") == ["loss", "<b>large"]
    assert [len(p.get_attribute("points").split()) for p in find(browser, ".curve polyline")] == [2, 3]


def test_arrows_move_over_the_grid_and_through_the_order(show):
    browser = show((2, 3), sweep(2, 3))

    def place():
        return tuple(int(word[-1]) for word in re.findall(r"label\d\d", focused(browser)))

    press(browser, "ARROW_RIGHT")  # from anywhere, to the one cell that Tab stops at
    assert place() == (0, 0)
    for key, there in (
        ("ARROW_RIGHT", (0, 1)),
        ("ARROW_DOWN", (1, 1)),
        ("ARROW_DOWN", (1, 1)),
        ("ARROW_LEFT", (1, 0)),
        ("ARROW_LEFT", (1, 0)),
        ("END", (1, 2)),
        ("ARROW_UP", (0, 2)),
        ("HOME", (0, 0)),
    ):
        press(browser, key)
        assert place() == there, key
    assert len(find(browser, ".open[tabindex='0']")) == 1
    press(browser, "ENTER", "ARROW_RIGHT", "ARROW_RIGHT", "ARROW_RIGHT")
    assert texts(browser, "#large-title .quiet") == ["4 of 6"]
    press(browser, "ARROW_LEFT", "ESCAPE")
    assert place() == (0, 2)
    choose(browser, "loss")
    find(browser, "ol .open")[0].click()
    press(browser, "ARROW_LEFT", "ARROW_RIGHT")
    assert texts(browser, "#large-title") == ["Picture 42 of 6"]  # the second smallest loss is that of cell 4


def test_marked_pictures_are_compared_side_by_side_and_one_over_the_other(show):
    browser = show((2, 3), sweep(2, 3))
    press(browser, "ARROW_RIGHT", "v")
    assert not shown(browser, "dialog")  # there is nothing to compare yet
    press(browser, "c", "ARROW_RIGHT", "c")
    assert len(shown(browser, ".marked .mark[aria-pressed=true]")) == 2
    find(browser, "#compare-marked")[0].click()
    left, right = (image.rect for image in shown(browser, "#beside img"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    assert texts(browser, "#beside .strong") == ["label10", "label11"]
    choose(browser, "wipe")
    (slider,) = shown(browser, "#wiper")
    before, after = [], []
    for seen in (before, after):
        upper = find(browser, "#wipe-stage img")[1]
        seen.append(upper.value_of_css_property("clip-path"))
        slider.send_keys("\ue014")  # an arrow to the right
    assert before == ["inset(0px 0px 0px 50%)"]
    assert after == ["inset(0px 0px 0px 51%)"]
    press(browser, "ESCAPE", "ARROW_DOWN", "c", "v")
    assert len(shown(browser, "#beside img")) == 3
    assert not shown(browser, "#manners, #wipe")
    find(browser, "#beside button")[0].click()
    assert len(find(browser, ".marked")) == 2
    press(browser, "ESCAPE")
    find(browser, "#clear")[0].click()
    assert not find(browser, ".marked")
    assert not shown(browser, "#tray")


def test_missing_stalled_and_spoilt_cells_bear_a_mark(show):
    cells = sweep(1, 4)[:3]  # one place has no record at all
    cells[0] |= {
        "picture": None,
        "status": "missing",
        "sentence": "not painted yet",
        "loss": None,
        "curve": [],
    }
    cells[1]["status"] = "stalled"
    cells[2] |= {"status": "not finite", "loss": math.inf, "curve": metrics(math.nan)}
    browser = show((1, 4), cells)
    assert [element.text for element in shown(browser, ".badge, .empty")] == [
        "missing",
        "stalled",
        "not finite",
    ]
    assert texts(browser, "#count") == ["3 pictures · 1 missing · 1 stalled · 1 not finite"]
    press(browser, "ARROW_RIGHT", "c", "ENTER")
    assert not find(browser, ".marked")
    assert "not painted yet" in find(browser, "#side")[0].text
    assert not find(browser, "#side a, #side svg")
    press(browser, "ARROW_RIGHT", "ARROW_RIGHT")
    assert "unknown" in find(browser, "#side")[0].text


def test_the_keys_are_shown_and_hidden(show):
    browser = show((2,), sweep(2))
    first = bool(shown(browser, "#keys"))
    press(browser, "?")
    assert bool(shown(browser, "#keys")) is not first
    find(browser, "#help")[0].click()
    assert bool(shown(browser, "#keys")) is first


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(show, width):
    cells = [cell | {"settings": {"style.weights.conv1_1": f"a/{'long' * 20}.jpg"}} for cell in sweep(4, 5)]
    browser = show((4, 5), cells, width=width, facts={"a long fact": "x" * 300})

    def overflow():
        return browser.execute_script(
            "return [...document.querySelectorAll('html, body, dialog[open], #compare-body, #side')]"
            ".map((e) => e.scrollWidth - e.clientWidth)"
        )

    assert max(overflow()) <= 0
    if width == 1280:  # the pictures fit too
        assert browser.execute_script("return scroller.scrollWidth - scroller.clientWidth") <= 0
    press(browser, "ARROW_RIGHT", "c", "ENTER")
    assert max(overflow()) <= 0
    press(browser, "ARROW_RIGHT", "c", "v")
    assert max(overflow()) <= 0
    choose(browser, "wipe")
    assert max(overflow()) <= 0
    press(browser, "ESCAPE")
    choose(browser, "loss")
    assert max(overflow()) <= 0


def test_headers_stay_in_sight_and_the_slider_changes_the_size(show):
    browser = show((20, 20), sweep(20, 20))
    press(browser, "ARROW_RIGHT", "END", *["ARROW_DOWN"] * 19)
    assert focused(browser) == "axis0.weight label019, axis1.weight label119"
    scroller = find(browser, "#scroller")[0].rect
    column, row = find(browser, "thead tr:last-child th")[-1].rect, find(browser, "tbody th")[-1].rect
    assert scroller["y"] <= column["y"] < scroller["y"] + 60
    assert scroller["x"] <= row["x"] < scroller["x"] + 30
    before = find(browser, ".cell")[0].rect["width"]
    find(browser, "#size")[0].send_keys("\ue014" * 5)
    assert find(browser, ".cell")[0].rect["width"] == before + 20
    find(browser, "#fit")[0].click()
    assert find(browser, ".cell")[0].rect["width"] == before


def test_texts_stay_texts(show):
    (cell,) = sweep(1)
    cell |= {"settings": {NASTY: NASTY}, "sentence": NASTY, "status": NASTY, "command": NASTY}
    browser = show((1,), [cell], facts={NASTY: NASTY})
    press(browser, "ARROW_RIGHT", "ENTER")
    assert not find(browser, "b")
    assert texts(browser, ".command code") == [NASTY]
    assert texts(browser, "#facts td") == [NASTY]


def test_the_policy_stops_what_does_not_belong(show):
    browser = show((1,), sweep(1))
    stopped = browser.execute_async_script("""
        const [stopped, done] = [[], arguments[0]];
        document.addEventListener("securitypolicyviolation", (e) => stopped.push(e.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.intruder = true";
        const image = new Image();
        image.onerror = () => setTimeout(() => done([...stopped, window.intruder ?? false]), 50);
        document.body.append(script, image);
        image.src = "http://localhost:9/picture.png";
    """)
    assert stopped == ["script-src-elem", "img-src", False]
    assert len(browser.get_log("browser")) == 2
    assert sum('"blockedReason":"csp"' in entry["message"] for entry in browser.get_log("performance")) == 1
    browser.refresh()


# The page of the papers' figures.


def figure(**changes):
    panel = {"settings": "α/β 1e-3", "status": "finished", "loss": 2.0, "initial_loss": 100.0}
    shown = {"use": "style", "picture": b"jpeg", "name": "sample:a", "stands_for": None, "link": None}
    return {
        "name": "fig1",
        "says": {"Figure": "Fig. 1", "Known": "much", "Assumed": "little", "Expected": "a < b & c"},
        "sheet": "fig1/sheet.png",
        "page": "fig1/index.html",
        "facts": "128 pixels",
        "inputs": [shown],
        "panels": [panel | {"content": 0.5, "style": 1.5}],
        "command": "nst-jax figures fig1",
    } | changes


def test_figures_have_captions_losses_and_pictures():
    text = report.figures_page([figure(), figure(name="fig2")])
    HTMLParser().feed(text)
    assert "a &lt; b &amp; c" in text
    for row in (
        "<td>2<td>2 %<td>0.5<td>1.5<td>",
        'href="#fig2"',
        'src="fig1/sheet.png"',
        "data:image/jpeg;base64",
    ):
        assert row in text
    assert "stand-in>" not in text


def test_figures_without_a_sheet_and_with_stand_ins():
    absent = {
        "use": "style",
        "picture": None,
        "name": "sample:a",
        "stands_for": "<Munch>",
        "link": "https://x",
    }
    panel = {"settings": "a", "status": "not done yet", "loss": None, "initial_loss": None}
    panels = [panel | {"content": None, "style": math.inf}]
    text = report.figures_page([figure(sheet=None, page=None, inputs=[absent], panels=panels)])
    assert "not painted yet" in text
    assert 'stands in for <a href="https://x">&lt;Munch&gt;</a>' in text
    assert "<td>a<td><td><td><td><td>not done yet" in text

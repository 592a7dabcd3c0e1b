"""The page of the studio in a real browser: from two pictures that are dropped to a file that is replayed."""

import re
import struct
import zlib
from pathlib import Path

import browsers
import numpy as np
import pytest
from browsers import find
from desks import at_work, until

from nst_jax import cli, images
from nst_jax.studio import compilations
from nst_jax.studio.server import serve

ENDLESS = {"solver.evaluations": 1_000_000, "pyramid.levels": 3, "size": 192, "enlarge": True}
"""A run of three sizes that stays at the first until it is stopped."""


@pytest.fixture
def studio(world, random):
    images.write("photo.png", images.resize(np.float32(random.uniform(size=(12, 16, 3))), (144, 192)))
    with at_work(ENDLESS) as desk:
        yield desk


@pytest.fixture
def page(browser, studio):
    """The page; in the end it has neither erred nor asked anyone else for anything."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    with serve(studio) as place:
        browsers.resize(browser, 1440, 900)
        browser.get(place.url)
        until(lambda: find(browser, "#control-size") and one(browser, "#start").is_enabled())
        yield browser
        browser.get("about:blank")
        refused = ("422", "404")  # what the page asked for and was told why not
        errors = [
            entry for entry in browser.get_log("browser") if not any(n in entry["message"] for n in refused)
        ]
        assert not errors
        asked = [url for url in browsers.asked(browser) if url.startswith("http")]
        assert asked
        assert not [url for url in asked if not url.startswith(place.url)]


def one(browser, selector):
    (found,) = find(browser, selector)
    return found


def text(browser, selector):
    return one(browser, selector).get_attribute("textContent")


def status(browser):
    return one(browser, "body").get_attribute("data-status")


def set_to(browser, key, value):
    """Move a slider, or fill in a number, as a hand does."""
    control = one(browser, f"#control-{key.replace('.', '-')}")
    script = (
        "arguments[0].value = arguments[1];"
        "for (const kind of ['input', 'change'])"
        " arguments[0].dispatchEvent(new Event(kind, {bubbles: true}));"
    )
    browser.execute_script(script, control, value)


def version(browser):
    return int(one(browser, "#picture").get_attribute("data-version") or 0)


def replayed(name):
    assert cli.run(["--replay", str(name), "--output", "again.png"]) == 0
    return images.read("again.png").rgb


def begun(browser):
    one(browser, "#start").click()
    until(lambda: version(browser))
    until(lambda: status(browser) == "running")


def test_the_whole_story(page, studio, random, tmp_path_factory):
    for use, size in (("content", (144, 192)), ("style", (100, 120))):
        file = Path(f"my {use}.png").resolve()
        images.write(file, images.resize(np.float32(random.uniform(size=(9, 12, 3))), size))
        one(page, f"#file-{use}").send_keys(str(file))
        until(lambda use=use: f"my {use}" in text(page, f"#{use}-well"))
    begun(page)
    canvas = studio.canvases[1]
    assert canvas.title == "my content in the style of my style"
    assert {
        name: value[:7] for name, value in canvas.described()["values"].items() if name.endswith(".image")
    } == {
        "content.image": "upload:",
        "style.image": "upload:",
    }
    seen = version(page)
    until(lambda: version(page) > seen)  # it grows

    # A slider is moved while it runs.
    set_to(page, "style.strength", 0.9)
    until(lambda: canvas.steering.changes)
    before, compiled = canvas.steering.problem.weights, compilations.count()
    set_to(page, "style.strength", 0.2)
    until(lambda: len(canvas.steering.changes) == 2)
    at = canvas.steering.changes[1].evaluations
    until(lambda: canvas.described()["evaluations"] > at)
    assert canvas.steering.problem.weights.content > before.content
    assert compilations.count() == compiled
    until(lambda: re.search(rf"\b{compiled}\b", text(page, "#compiled")))

    # Pause, and look at it from a second browser.
    one(page, "#pause").click()
    until(lambda: status(page) == "paused")
    other = browsers.started(tmp_path_factory.mktemp("other"))
    try:
        other.get(page.current_url)
        until(lambda: status(other) == "paused")
        until(lambda: version(other))
        for shown in ("#evaluations", "#loss", "#sentence"):
            until(lambda shown=shown: text(other, shown) == text(page, shown))
        assert len(find(other, "[data-moment]")) == len(find(page, "[data-moment]"))
        drawn = "const c = document.createElement('canvas'), p = document.querySelector('#picture');" + (
            "c.width = p.naturalWidth; c.height = p.naturalHeight; c.getContext('2d').drawImage(p, 0, 0);"
            "return c.toDataURL();"
        )
        until(lambda: other.execute_script(drawn) == page.execute_script(drawn))
    finally:
        other.quit()

    # A moment is kept, then restored; saved, and gone on from.
    one(page, "#keep").click()
    until(lambda: any(kept.why == "kept" for kept in canvas.moments))
    kept = canvas.moments[-1]
    set_to(page, "style.strength", 0.95)
    one(page, "#go-on").click()
    until(lambda: status(page) == "running" and len(canvas.steering.changes) == 3)
    until(lambda: find(page, f'[data-moment="{kept.number}"]'))
    one(page, f'[data-moment="{kept.number}"]').click()
    until(lambda: len(canvas.steering.changes) == 4)
    assert canvas.steering.changes[3].picture == kept.moment.evaluations
    until(lambda: one(page, "#control-style-strength").get_attribute("value") == "0.2")
    one(page, "#save").click()
    until(lambda: list(Path("studio").glob("001_*.png")))
    (saved,) = Path("studio").glob("001_*.png")
    one(page, "#stop").click()
    until(lambda: status(page) == "interrupted")
    until(lambda: studio.busy is None)
    for name in (saved, Path("studio/001.png")):
        np.testing.assert_array_equal(replayed(name), images.read(name).rgb)


def _bomb():
    """Return a PNG that claims 60000 x 60000 pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(10**6)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts.items())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("bomb.png", _bomb(), "megapixels; at most 100 are taken"),
        ("notes.jpg", b"dear diary", "such as JPEG or PNG"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "phone.heic"),
        ("nothing.png", b"", "nothing.png"),
    ],
)
def test_what_is_no_picture_is_answered_in_the_page(page, studio, name, data, words):
    Path(name).write_bytes(data)
    one(page, "#file-content").send_keys(str(Path(name).resolve()))
    until(lambda: any(words in e.get_attribute("textContent") for e in find(page, "#notes [role=alert]")))
    assert not list(Path("studio").rglob("*.p*"))


def test_nine_around_this_and_one_of_them_is_taken(page, studio):
    one(page, "#grid").click()
    until(lambda: len(find(page, "[data-cell]")) == 9)
    until(lambda: status(page) == "finished")
    one(page, '[data-cell="2"]').click()
    values = studio.canvases[1].described()["cells"][2]["values"]
    until(
        lambda: float(one(page, "#control-style-strength").get_attribute("value")) == values["style.strength"]
    )
    assert one(page, "#control-size").get_attribute("value") == "192"
    begun(page)
    assert studio.canvases[2].settings.style.scale == values["style.scale"]
    one(page, "#stop").click()
    until(lambda: status(page) == "interrupted")


def test_more_evaluations_after_the_end(page, studio):
    begun(page)
    one(page, "#stop").click()
    until(lambda: status(page) == "interrupted")
    one(page, "#more").click()
    until(lambda: len(studio.canvases) == 2)
    until(lambda: status(page) == "finished")
    assert studio.canvases[2].settings.init == "studio/001.png"


OVERLAPS = """
const shown = [...document.querySelectorAll("button, input, select, label, output, h2, #picture")]
  .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true})
    && !e.closest(".unseen, [type=file], .help, #toast") && e.type !== "file");
const seen = e => {  // the part that is not scrolled out of sight
  let {left, right, top, bottom} = e.getBoundingClientRect();
  for (let outer = e.parentElement; outer; outer = outer.parentElement) {
    if (outer === document.body || getComputedStyle(outer).overflowX === "visible") continue;
    const box = outer.getBoundingClientRect();
    [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
    [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
  }
  return {left, right, top, bottom};
};
const boxes = shown.map(e => [e, seen(e)]).filter(([, b]) => b.right - b.left > 1 && b.bottom - b.top > 1);
const found = [];
for (const [a, p] of boxes) for (const [b, q] of boxes) {
  if (a === b || a.contains(b) || b.contains(a) || a.tagName === "LABEL" && a.control === b) continue;
  const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
  const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
  if (wide > 1 && high > 1) found.push(`${a.outerHTML.slice(0, 60)} over ${b.outerHTML.slice(0, 60)}`);
}
return found;
"""


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_nothing_overlaps_or_jumps(page, studio, width, height):
    browsers.resize(page, width, height)
    set_to(page, "solver.evaluations", 40)
    box = "const b = document.querySelector('#stage').getBoundingClientRect(); return [b.width, b.height]"
    before = page.execute_script(box)
    begun(page)
    boxes = {tuple(page.execute_script(box)) for _ in range(20)}
    until(lambda: status(page) == "finished")
    boxes.add(tuple(page.execute_script(box)))
    assert boxes == {tuple(before)}
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script(OVERLAPS) == []
    set_to(page, "style.strength", 0.7)  # with a way back to the default
    assert page.execute_script(OVERLAPS) == []


def test_the_keyboard_reaches_everything(page, studio):
    from selenium.webdriver import ActionChains, Keys

    begun(page)
    reached = set()
    for _ in range(120):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.execute_script("return document.activeElement.id"))
        if {"control-seed", "pause", "divider", "save"} <= reached:
            break
    assert {"control-style-strength", "pause", "stop", "keep", "grid", "divider", "save"} <= reached
    page.execute_script("document.querySelector('#divider').focus()")
    ActionChains(page).send_keys(Keys.HOME, Keys.ARROW_RIGHT).perform()
    assert float(one(page, "#divider").get_attribute("aria-valuenow")) > 0
    one(page, "#stop").click()
    until(lambda: status(page) == "interrupted")


def test_the_page_stays_when_the_program_ends(browser, studio):
    with serve(studio) as place:
        browser.get(place.url)
        begun(browser)
        studio.close()
        until(lambda: status(browser) == "interrupted")
        studio.leave()
        until(lambda: one(browser, "body").get_attribute("data-over") is not None)
    assert version(browser)
    browser.get("about:blank")

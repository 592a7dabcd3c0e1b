"""The pages in docs and the README say what is true of the program."""

import doctest
import re
from pathlib import Path

import pytest
import write_settings_page

from nst_jax import config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.usefixtures("direct")
def test_the_tour_in_python_runs():
    page = ROOT / "docs" / "python.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)
    test = doctest.DocTestParser().get_doctest(code, {}, "python.md", str(page), 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.tries >= 15
    assert runner.failures == 0


def test_the_page_of_settings_is_up_to_date():
    """If not: python tools/write_settings_page.py."""
    assert write_settings_page.PAGE.read_text() == write_settings_page.page()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\((\w+\.md)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_linked_is_there(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    for link in links:
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_exist(page):
    """Every --set key=value of the pages is one that a config takes."""
    for written in re.findall(r"--set [\"']?([\w.]+=(?:\[[^\]]*\]|[\w.e-]+))", page.read_text()):
        if "..." not in written:
            config.load(base={"content": "a", "style": "b"}, assignments=[written])

"""The pages in docs and the README say what is true of the program."""

import doctest
import functools
import re
from pathlib import Path

import pytest
from makers import NARROW

from nst_jax import config
from nst_jax.pretrained import builtin as dictionary

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tour_in_python_runs(monkeypatch):
    """As it stands, but on a narrow network."""
    monkeypatch.setattr(dictionary, "load", functools.partial(dictionary.load, blocks=NARROW))
    page = ROOT / "docs" / "python.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)
    assert len(re.findall(r"^(>>>|\.\.\.)", code, flags=re.M)) <= 30
    test = doctest.DocTestParser().get_doctest(code, {}, "python.md", str(page), 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.tries >= 15
    assert runner.failures == 0


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

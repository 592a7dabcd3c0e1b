"""Write docs/settings.md, the page of all settings, from what the settings say of themselves.

python tools/write_settings_page.py
"""

import json
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from nst_jax.settings import Number, Section, Settings, default_of, is_section
from nst_jax.settings.checks import Choice

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

HEAD = """\
# Settings

Every setting, its default and its meaning. `nst-jax --print-config` prints the same as a YAML file to start
from. In YAML a key is written as nested sections, on the command line as `--set style.weight=1e4` or with the
flag given here, in Python as `Settings().with_values({"style.weight": 1e4})`. A mistake is answered with its
place, the value, and what is allowed.

<!-- Written by tools/write_settings_page.py from nst_jax/settings/sections.py: edit those. -->
"""


def page() -> str:
    """Return the page, as Markdown."""
    return "\n".join([HEAD, *_tables(Settings())])


def _tables(settings: Settings) -> Iterator[str]:
    sections = {each.name: default_of(each) for each in fields(settings) if is_section(each)}
    yield from _table("Of the whole run", "These stand outside of the sections.", settings, "")
    for name, section in sections.items():
        short = f" `{name}: VALUE` is short for `{name}.{section.SHORT}`." if section.SHORT else ""
        yield from _table(f"`{name}`", f"{type(section).__doc__}{short}", section, f"{name}.")


def _table(title: str, text: str, section: Section, before: str) -> Iterator[str]:
    yield from (f"## {title}", "", text, "", "| key | default | allowed | meaning |", "|---|---|---|---|")
    for each in fields(section):
        if not is_section(each):
            yield f"| {' | '.join(_cells(each, before))} |"
    yield ""


def _cells(each: Field[Any], before: str) -> tuple[str, str, str, str]:
    flag = each.metadata["flag"]
    key = f"`{before}{each.name}`" + (f", `--{flag}`" if flag else "")
    return key, f"`{_written(each.default)}`", _allowed(each.metadata["check"]), each.metadata["meaning"]


def _allowed(check: object) -> str:
    if isinstance(check, Choice):
        return ", ".join(f"`{_written(value)}`" for value in check.allowed)
    if not isinstance(check, Number):
        return ""
    if check.tiny is not None:
        return f"0, or {check.tiny:g} to {check.most:g}"
    words = {"above": check.above, "at least": check.least, "at most": check.most}
    limits = " and ".join(f"{word} {limit:.10g}" for word, limit in words.items() if limit is not None)
    return f"a whole number, {limits}" if check.is_whole else limits


def _written(value: object) -> str:
    """Return a value as in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

import io
import os
import subprocess
import sys

import pytest

from nst_jax.cli import terminal
from nst_jax.errors import OutputError


class Full(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Full(), Broken(), closed()])
def test_what_cannot_be_shown_costs_nothing(stream, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    terminal.tell("out.png: finished")
    terminal.say("a note")
    assert not terminal.is_terminal()
    with terminal.photos_progress("photographs") as show:
        show(1, 2)


@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [
        ("caf\u00e9.png", "utf-8", "caf\u00e9.png"),
        ("caf\u00e9.png", "ascii", r"caf\xe9.png"),
        ("\u2603.png", "cp1252", r"\u2603.png"),
        ("\udce9.png", "utf-8", r"\xe9.png"),
        ("two\nlines\x1b[31m.png", "utf-8", r"two\nlines\x1b[31m.png"),
    ],
)
def test_names_are_shown_on_one_line_as_far_as_can_be(name, encoding, shown, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.tell(name)
    assert stream.buffer.getvalue().decode(encoding) == f"{shown}\n"


def test_a_text_that_is_the_result_must_be_written(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OutputError, match="standard output: cannot be written: No space left on device"):
        terminal.hand_over("seed: 0")
    monkeypatch.setattr(sys, "stdout", Broken())
    terminal.hand_over("seed: 0")  # as `| head` does


PROCESS = "from nst_jax.cli import terminal; terminal.tell('x' * 70); terminal.say('y')"


@pytest.mark.parametrize(
    "redirections", [">/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-", "| true"]
)
def test_a_process_ends_well_whatever_its_streams_are(redirections):
    """The interpreter flushes its streams once more at its end."""
    script = f'"$0" -c "{PROCESS}" {redirections}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True)
    assert done.returncode == 0
    assert "rror" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_settings_that_go_nowhere_are_an_error():
    script = '"$0" -m nst_jax --print-config >/dev/full'
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "nst-jax: standard output: cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("columns", "shown"),
    [(20, "level 1/3"), (60, "level 1/3  loss 75.9"), (200, "level 1/3  loss 75.9  content 40")],
)
def test_a_narrow_terminal_shows_what_counts_most(monkeypatch, columns, shown):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert terminal._fitting(["level 1/3", "", "loss 75.9", "content 40"]) == shown

"""--hosts: one picture by several hosts. What JAX says of hosts that are lost is said in one line.

JAX's own service ends a process whose hosts are lost, from within and with many lines. They come through a
pipe to a small process beside this one, which shows what is meant; all else goes through.
"""

import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence

from nst_jax.cli.arguments import Parser
from nst_jax.cli.terminal import say
from nst_jax.errors import ConfigError, printable
from nst_jax.transfer import hosts
from nst_jax.typing import Json

_HERE = (
    "--hosts is for one picture: the pictures of {} are independent of each other, so give them to several "
    "machines one by one; see docs/clusters.md"
)

_NATIVE = re.compile(rb"[EF]\d{4} .*(coordination_service|client\.h:)")
"""A line of JAX's service that says that all is over; more follow."""

_MEANINGS = (
    (
        rb"Unexpected task|different incarnation|already.*registered|ALREADY_EXISTS|ABORTED",
        "the hosts do not agree on how many they are, or two of them have the same number",
    ),
    (
        rb"RegisterTask",
        f"not all hosts have come within {hosts.PATIENCE} s, or the first one cannot be reached",
    ),
    (rb"", hosts.LOST),
)
"""What its words mean, the first that are found."""

_QUIET = b"nst-jax: quiet"


def add_flag(parser: Parser) -> None:
    """Add ``--hosts`` to a parser."""
    parser.add_argument(
        "--hosts",
        metavar="WHERE",
        help="paint by the devices of several hosts, each of which runs this command: auto (a TPU pod, "
        "Slurm, Open MPI, Kubernetes), or COORDINATOR:PORT,COUNT,NUMBER; it means --devices rows",
    )


def refuse(command: str, arguments: Sequence[str]) -> None:
    """Raise ConfigError if a command is given ``--hosts`` that has no use for it."""
    if any(each.split("=")[0] == "--hosts" for each in arguments):
        raise ConfigError(_HERE.format(f"nst-jax {command}"))


def joining(options: Mapping[str, Json]) -> Callable[[], None]:
    """Return what makes this process one of several, if options say so; it is to be done before JAX starts.

    Raises:
        ConfigError: they say it wrongly.
    """
    text = options["hosts"]
    if text is None:
        return lambda: None
    if options["live"]:
        raise ConfigError("--live: a run on several hosts is not steered: leave it out")
    if text == "auto":
        return lambda: _join()
    match = re.fullmatch(r"(?P<name>.+):(?P<port>\d+),(?P<count>\d+),(?P<index>\d+)", text)
    if not match:
        raise ConfigError(f"--hosts {text}: should be auto, or COORDINATOR:PORT,COUNT,NUMBER")
    port, count, index = (int(match[name]) for name in ("port", "count", "index"))
    if not (1 <= port <= 65535 and count >= 1 and index < count):
        raise ConfigError(f"--hosts {text}: should have a port to 65535, and a number from 0 to COUNT - 1")

    def join() -> None:
        if index:
            _await(match["name"].strip("[]"), port)
        _join(f"{match['name']}:{port}", count, index)

    return join


def _await(name: str, port: int) -> None:
    """Wait until the first host is there.

    Raises:
        ConfigError: it does not come.
    """
    until = time.monotonic() + hosts.PATIENCE
    while True:
        try:
            socket.create_connection((name, port), timeout=max(1.0, until - time.monotonic())).close()
            return
        except OSError as error:
            why = error.strerror or error
            if time.monotonic() > until:
                what = f"cannot be reached within {hosts.PATIENCE} s: {why}"
                raise ConfigError(f"--hosts: the first host, {name}:{port}, {what}") from None
        time.sleep(0.2)


def _join(address: str | None = None, count: int | None = None, index: int | None = None) -> None:
    _filter()
    say("waiting for the other hosts")
    hosts.join(address, count, index)


def ended(run: Callable[[], int]) -> int:
    """Return a command's exit code; if other hosts still count on this one, end without waiting for them."""
    try:
        code = run()
    except Exception:
        if hosts.count() == 1:
            raise
        traceback.print_exc()
        code = 1
    if hosts.count() > 1:
        os.write(2, _QUIET + b"\n")
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    return code


def _filter() -> None:
    """Let all but Python write to a process that says it again, see `shown`.

    JAX has not been started: there are no threads yet.
    """
    if not hasattr(os, "fork") or sys.stdout is None or sys.stderr is None:
        return
    reading, writing = os.pipe()
    streams = []
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        own = os.dup(stream.fileno())
        streams.append(open(own, "w", 1, stream.encoding, stream.errors))  # noqa: SIM115
    if os.fork() == 0:
        os.close(writing)
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        try:
            with open(reading, "rb") as lines:
                for line in shown(lines):
                    os.write(streams[1].fileno(), line)
        finally:
            os._exit(0)
    os.close(reading)
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    sys.stdout, sys.stderr = streams


def shown(lines: Iterable[bytes]) -> Iterable[bytes]:
    """Give what is shown of lines: all until JAX's service ends the process, and then what that means."""
    words = b""
    for line in lines:
        if line.startswith(_QUIET):
            return
        if words or _NATIVE.match(line):
            words += line
        elif not line.startswith(b"[Gloo]"):
            yield line
    if b"Terminating process" in words:
        meaning = next(text for pattern, text in _MEANINGS if re.search(pattern, words))
        yield f"nst-jax: --hosts: {printable(meaning)}\n".encode()

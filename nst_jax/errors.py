"""User mistakes: one line that says what was wrong, what was given and what is allowed.

The command line prints such an error without a traceback and exits with code 2; anything else is a bug
and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Sequence


class NstError(Exception):
    """A mistake in what the user gave; its text is the whole message."""


class ConfigError(NstError, ValueError):
    """A config, flag or option that cannot be used. It may hold several lines, one for each mistake."""


class SettingError(ConfigError):
    """Settings that may not be: ``problems`` are pairs of a key, in its parts, and a sentence."""

    def __init__(self, problems: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"{'.'.join(map(str, key))}: {text}" for key, text in self.problems))

    @classmethod
    def at(cls, key: str, text: str) -> "SettingError":
        """Return an error with a single problem."""
        return cls([((key,), text)])


class ImageError(NstError, ValueError):
    """An image that cannot be read, written or used."""


class FlowError(NstError, ValueError):
    """A file of optical flow that cannot be read or used."""


class WeightsError(NstError):
    """Network weights that cannot be found, read or used."""


class FilmError(NstError):
    """A film that cannot be read or written."""


class HostsError(NstError):
    """Hosts that cannot paint a picture together, or no longer."""


class OutputError(NstError):
    """A place where results cannot be written."""


def printable(text: str) -> str:
    """Return a text, such as the name of a file, with escapes for what no terminal shows.

    Control characters, halves of surrogate pairs (bytes of a name that are no UTF-8) and the like.
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest allowed name, or an empty string if none is near."""
    near = difflib.get_close_matches(given, list(allowed), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""

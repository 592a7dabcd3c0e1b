"""Flags that stand for settings, and how they become a config."""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import Field

from nst_jax.cli.terminal import hand_over
from nst_jax.errors import ConfigError
from nst_jax.settings import Number, Settings, checks, every_setting
from nst_jax.typing import Json

Flags = Mapping[str, tuple[str, Field[Json]]]
"""For each flag, the dotted key of the setting that it stands for, and the setting."""


def flags_of(*, without: Iterable[str] = ()) -> Flags:
    """Return the flags of all settings that have one, but for some sections."""
    return {
        each.metadata["flag"]: (key, each)
        for key, each in every_setting(Settings())
        if each.metadata["flag"] and key.split(".")[0] not in without
    }


RUN = flags_of(without=("sweep", "film"))
SWEEP = flags_of(without=("output", "film"))
FILM = flags_of(without=("sweep", "output"))


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are ours."""

    def error(self, message: str) -> Json:
        """Raise a ConfigError."""
        raise ConfigError(f"{message}; '{self.prog} --help' lists what there is")

    def _print_message(self, message: str, file: Json = None) -> None:
        """Print help or version."""
        if message:
            hand_over(message)


def parser_for(program: str, flags: Flags, **options: Json) -> Parser:
    """Return a parser of flags that stand for settings, ``--config``, ``--set`` and ``--print-config``."""
    parser = Parser(
        prog=program, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a YAML file, or the name of a config that comes along"
    )
    add_flags(parser, flags)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and their meaning, and stop"
    )
    return parser


def add_flags(parser: argparse.ArgumentParser, flags: Flags, defaults: Mapping[str, object] = {}) -> None:
    """Add flags to a parser, each with its meaning and default, or another default."""
    for flag, (_, each) in flags.items():
        default = defaults.get(flag, each.default)
        text = each.metadata["meaning"] + ("" if default is None else f" (default: {default})")
        action = "append" if each.metadata["check"] is checks.texts else "store"
        more: dict[str, Json] = {"metavar": _metavar(each), "action": action}
        if isinstance(each.default, bool):  # alone it means true
            more = {"metavar": "false", "nargs": "?", "const": "true"}
        parser.add_argument(f"--{flag}", help=text.replace("%", "%%"), **more)


def _metavar(each: Field[Json]) -> str:
    check = each.metadata["check"]
    return ("N" if check.is_whole else "X") if isinstance(check, Number) else "TEXT"


def settings_of(options: Mapping[str, Json], flags: Flags) -> dict[str, tuple[str, Json]]:
    """Return the flags that were given as `config.load` takes them."""
    given = {flag: options[flag.replace("-", "_")] for flag in flags}
    return {
        flags[flag][0]: (f"--{flag}", _given(f"--{flag}", text, flags[flag][1]))
        for flag, text in given.items()
        if text is not None
    }


def configured(options: Mapping[str, Json], flags: Mapping[str, tuple[str, Json]]) -> Json:
    """Return the settings that options stand for.

    Args:
        options: what was given, ``config`` and ``set`` among it.
        flags: from `settings_of`.
    """
    from nst_jax import config as configs

    return configs.load(options["config"], flags=flags, assignments=options["set"])


def is_printed(options: Mapping[str, Json], config: Json) -> bool:
    """Print settings and tell so, if that is all that was asked for."""
    if options["print_config"]:
        from nst_jax import config as configs

        hand_over(configs.to_yaml(config))
    return bool(options["print_config"])


def _given(flag: str, text: str | list[str], each: Field[Json]) -> Json:
    if isinstance(text, list):  # given once or more
        return text if len(text) > 1 else text[0]
    return value(flag, text, is_text=_is_text(each, text))


def _is_text(each: Field[Json], text: str) -> bool:
    """Tell whether a flag's text is the value: not where it is a number, or a blend of first images."""
    if isinstance(each.default, str):
        return each.name != "init" or not text.lstrip().startswith("{")
    return each.metadata["check"] is checks.text


def value(flag: str, text: str, *, is_text: bool = False) -> Json:
    """Return a flag's text as a value: as it is, or as in YAML."""
    if is_text:
        return text

    from nst_jax import config as configs

    # The same parser as in a file, so that 1e4 and 10000 mean the same everywhere.
    parsed, _, problems = configs.parse(text, name=flag, top=object)
    if problems:
        raise ConfigError("\n".join(problems))
    return parsed


def pairs(flag: str, texts: Iterable[str]) -> list[tuple[str, Json]]:
    """Return the keys and values of texts such as ``style.weight=[1e2, 1e3]``."""
    found = []
    for text in texts:
        key, equals, written = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{flag} {text}: should be KEY=VALUE")
        found.append((key.strip(), value(f"{flag} {text}", written)))
    return found

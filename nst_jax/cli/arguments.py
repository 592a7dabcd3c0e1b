"""Flags that stand for settings, and how they become a config."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nst_jax.errors import ConfigError

FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    # flag: (key of the config, type, help)
    "content": ("content.image", str, "the photograph: a file, or sample:NAME"),
    "style": ("style.image", str, "the painting: a file, or sample:NAME"),
    "content-map": ("content.map", str, "what is where in the picture, for patches (default: NAME_sem.png)"),
    "style-map": ("style.map", str, "the same of the painting"),
    "output": ("output.image", str, "the picture to write: .png, .jpg, .webp, .tif (default: out.png)"),
    "size": ("size", int, "bound of the longer side in pixels (default: 512)"),
    "evaluations": ("solver.evaluations", int, "how often the loss is computed (default: 300)"),
    "images": ("images", str, "folder of the papers' pictures, for configs/papers (default: samples)"),
    "weights": ("weights", str, "auto, vgg19, dictionary or a weights file (default: auto)"),
    "init": ("init", str, "first image: content, style, noise, a file, or {content: 0.7, noise: 0.3} "
             "(default: content)"),
    "seed": ("seed", int, "of the noise (default: 0)"),
    "content-weight": ("content.weight", float, "alpha of equation 7 (default: the convention's own)"),
    "style-weight": ("style.weight", float, "beta of equation 7 (default: the convention's own)"),
    "memory-limit": ("memory_limit", str, "such as 4GiB (default: what is free)"),
    "save-every": ("output.save_every", int, "also keep a picture every N evaluations (default: 0, none)"),
}  # fmt: skip

Flags = Mapping[str, tuple[str, Callable[[str], Any], str]]


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are ours."""

    def error(self, message: str) -> Any:
        """Raise a ConfigError."""
        raise ConfigError(f"{message}; '{self.prog} --help' lists what there is")


def parser_for(program: str, flags: Flags, **options: Any) -> Parser:
    """Return a parser of flags that stand for settings, ``--config``, ``--set`` and ``--print-config``."""
    parser = Parser(
        prog=program, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a YAML file, or the name of a config that comes along"
    )
    for flag, (_, kind, text) in flags.items():
        metavar = "N" if kind is int else "X" if kind is float else "TEXT"
        parser.add_argument(f"--{flag}", metavar=metavar, help=text)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings and their meaning, and stop"
    )
    return parser


def settings_of(options: Mapping[str, Any], flags: Flags) -> dict[str, tuple[str, Any]]:
    """Return the flags that were given as `config.load` takes them."""
    given = {flag: options[flag.replace("-", "_")] for flag in flags}
    return {
        flags[flag][0]: (f"--{flag}", value(f"--{flag}", text, flags[flag][1]))
        for flag, text in given.items()
        if text is not None
    }


def value(flag: str, text: str, kind: Callable[[str], Any] | None = None) -> Any:
    """Return a flag's text as a value: plain text if its kind is str, else as in YAML."""
    blend = flag == "--init" and text.lstrip().startswith("{")
    if kind is str and not blend:
        return text

    from nst_jax import config as configs

    # The same parser as in a file, so that 1e4 and 10000 mean the same everywhere.
    parsed, _, problems = configs.parse(text, name=flag, top=object)
    if problems:
        raise ConfigError("\n".join(problems))
    return parsed


def pairs(flag: str, texts: Iterable[str]) -> list[tuple[str, Any]]:
    """Return the keys and values of texts such as ``style.weight=[1e2, 1e3]``."""
    found = []
    for text in texts:
        key, equals, written = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{flag} {text}: should be KEY=VALUE")
        found.append((key.strip(), value(f"{flag} {text}", written)))
    return found

"""The style terms by their names."""

from importlib import import_module

from nst_jax.losses.summed import summed
from nst_jax.losses.terms import StyleTerm
from nst_jax.settings import STYLE_KINDS, Settings


def style_term(settings: Settings) -> StyleTerm:
    """Return the term of ``style.terms`` or ``style.kind``: by their names, or the one given."""
    style = settings.style
    if style.terms:
        return summed([(_named(each["kind"], settings), float(each["weight"])) for each in style.terms])
    return style.kind if isinstance(style.kind, StyleTerm) else _named(style.kind, settings)


def _named(kind: str, settings: Settings) -> StyleTerm:
    module, _, name = STYLE_KINDS[kind].partition(":")
    term: StyleTerm = getattr(import_module(module), name).of(settings)
    return term

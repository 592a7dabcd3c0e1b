"""The style terms by their names."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from nst_jax.errors import SettingError
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.losses.summed import summed
from nst_jax.losses.terms import StyleTerm
from nst_jax.settings import STYLE_KINDS, Layers, Settings
from nst_jax.typing import Json


def style_term(settings: Settings) -> StyleTerm:
    """Return the term of ``style.terms`` or ``style.kind``: by their names, or the one given.

    Raises:
        SettingError: terms that cannot be summed.
    """
    style = settings.style
    if style.terms:
        _check(style.terms, settings)
        return summed([(_named(each["kind"], settings), float(each["weight"])) for each in style.terms])
    return style.kind if isinstance(style.kind, StyleTerm) else _named(style.kind, settings)


def style_layers(settings: Settings) -> Layers:
    """Return ``style.layers``, or those of the term with their weights."""
    if settings.style.layers is not None:
        return settings.style.layers
    rules, term = CONVENTIONS[settings.loss.convention], style_term(settings)
    return rules.layer_weights(term.layers, falloff=rules.falloff if term.is_falling else 1.0)


def _check(terms: Sequence[Mapping[str, Json]], settings: Settings) -> None:
    joint = [kind for kind in STYLE_KINDS if _named(kind, settings).is_joint]
    if alone := [each["kind"] for each in terms if each["kind"] in joint]:
        others = ", ".join(kind for kind in STYLE_KINDS if kind not in joint)
        what = f"{alone[0]} looks at all layers together and stands alone; can be summed: {others}"
        raise SettingError.at("style.terms", what)


def _named(kind: str, settings: Settings) -> StyleTerm:
    module, _, name = STYLE_KINDS[kind].partition(":")
    term: StyleTerm = getattr(import_module(module), name).of(settings)
    return term

"""What a page can set of a run, in the order in which it is shown; its help is that of the settings."""

from collections.abc import Mapping
from dataclasses import Field, dataclass

from nst_jax.errors import SettingError
from nst_jax.runs.steering import LIVE
from nst_jax.settings import STYLE_KINDS, Settings, every_setting
from nst_jax.settings.checks import Choice, is_number
from nst_jax.typing import Json


@dataclass(frozen=True)
class Control:
    """How a setting is shown.

    Attributes:
        key: of the setting, dotted.
        label: what it is called on the page.
        kind: ``picture``, ``range``, ``number`` or ``choice``.
        group: ``pictures``, ``maps``, ``look`` or ``size``.
        least: of a range or number, as are the two that follow.
        most: the setting itself may allow more.
        step: between two values.
        is_log: equal ways on a range are equal ratios.
        choices: allowed values; empty: the setting's own.
    """

    key: str
    label: str
    kind: str
    group: str
    least: float | None = None
    most: float | None = None
    step: float | None = None
    is_log: bool = False
    choices: tuple[Json, ...] = ()


CONTROLS = (
    Control("content.image", "photograph", "picture", "pictures"),
    Control("style.image", "painting", "picture", "pictures"),
    Control("content.map", "map of the photograph", "picture", "maps"),
    Control("style.map", "map of the painting", "picture", "maps"),
    Control("content.keep", "what stays as it is", "picture", "maps"),
    Control("style.strength_map", "where the style counts", "picture", "maps"),
    Control("style.strength", "strength", "range", "look", 0.0, 1.0, 0.01),
    Control("style.scale", "style scale", "range", "look", 0.25, 4.0, 0.05, is_log=True),
    Control("colour", "colour", "choice", "look"),
    Control("loss.total_variation", "total variation", "range", "look", 1e-4, 10.0, 0.01, is_log=True),
    Control("style.kind", "kind of style", "choice", "look", choices=tuple(STYLE_KINDS)),
    Control("size", "size", "number", "size", 64, 2048, 32),
    Control("solver.evaluations", "evaluations", "number", "size", 10, 2000, 10),
    Control("weights", "network", "choice", "size", choices=("compact", "vgg19", "vgg16", "auto")),
    Control("init", "first image", "choice", "size", choices=("content", "style", "noise")),
    Control("seed", "seed", "number", "size", 0, 2**32 - 1, 1),
)

KEYS = tuple(control.key for control in CONTROLS)

AT_ONCE = tuple(key for key in KEYS if key in LIVE and key != "solver.evaluations")
"""What acts on a run under way; of evaluations there may be more, by a button of their own."""

PICTURES = tuple(control.key for control in CONTROLS if control.kind == "picture")

_DEFAULT = Settings()

MIDDLE = {"style.strength": 0.5, "loss.total_variation": 0.03, "size": 256}
"""Where a control stands whose setting is none: what that means by default."""


def described(settings: Settings = _DEFAULT) -> list[dict[str, Json]]:
    """Return what the page needs to know of each control, whose ends are as far out as settings are."""
    every, values = dict(every_setting(Settings())), values_of(settings)
    return [_described(control, every[control.key], values[control.key]) for control in CONTROLS]


def _described(control: Control, setting: Field[Json], value: Json) -> dict[str, Json]:
    check, least, most = setting.metadata["check"], control.least, control.most
    if is_number(value) and least is not None and most is not None:
        least, most = min(least, value), max(most, value)
    choices = control.choices or (check.allowed if isinstance(check, Choice) else ())
    default = setting.default
    return {
        "key": control.key,
        "flag": setting.metadata["flag"],
        "label": control.label,
        "help": setting.metadata["meaning"],
        "kind": control.kind,
        "group": control.group,
        "least": least,
        "most": most,
        "step": control.step,
        "is_log": control.is_log,
        "choices": list(choices),
        "live": control.key in AT_ONCE,
        "default": MIDDLE.get(control.key) if default is None else default,
    }


def checked(values: Mapping[str, Json], *, allowed: tuple[str, ...] = KEYS) -> dict[str, Json]:
    """Return values that a page gave.

    Raises:
        SettingError: one of another key than those allowed.
    """
    for key in values:
        if key not in allowed:
            raise SettingError.at(str(key), f"cannot be set here; these can: {', '.join(allowed)}")
    return dict(values)


def values_of(settings: Settings) -> dict[str, Json]:
    """Return what the controls show of settings; pictures by their names."""
    return {key: settings.value(key) for key in KEYS}

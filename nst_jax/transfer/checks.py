"""Checks of what is asked of a run that need none of its pictures."""

from nst_jax.errors import SettingError
from nst_jax.settings import Settings
from nst_jax.settings.checks import MOST_WEIGHT
from nst_jax.solvers import streamed
from nst_jax.transfer.objective import LossWeights

_LEAST = 1e-25
"""A smaller weight of a layer counts for nothing in float32."""


def check_weights(weights: LossWeights) -> None:
    """Raise SettingError for weights that compare nothing, or that float32 does not hold."""
    content = weights.content * sum(weights.content_layers.values())
    style = weights.style * sum(weights.style_layers.values())
    if not (content or style or weights.total_variation):
        what = "all are zero: give content.weight or style.weight, and layers, above zero"
        raise SettingError.at("weights", what)
    for name, weight, layers in (
        ("content", weights.content, weights.content_layers),
        ("style", weights.style, weights.style_layers),
    ):
        for layer, share in layers.items():
            if weight and share and not _LEAST <= weight * share <= MOST_WEIGHT:
                limits = f"from {_LEAST:g} to {MOST_WEIGHT:g}"
                what = f"times that of {layer} should be {limits}, is {weight * share:g}"
                raise SettingError.at(f"{name}.weight", what)


def check_moving(settings: Settings) -> None:
    """Raise SettingError for a solver that is asked for what it cannot do."""
    solver = settings.solver
    if solver.kind == "lbfgsb" and settings.pyramid.variables == "laplacian":
        raise SettingError.at("pyramid.variables", "solver.kind lbfgsb bounds pixels: use lbfgs or adam")
    if solver.history_on in streamed.PLACES and (solver.kind, solver.linesearch) != ("lbfgs", "none"):
        what = f"{solver.history_on} is for solver.kind lbfgs with solver.linesearch none: leave it out"
        raise SettingError.at("solver.history_on", what)
    for name, given in (("averaging", solver.averaging), ("carry", solver.carry)):
        if given and solver.kind != "adam":
            raise SettingError.at(f"solver.{name}", f"is of adam, solver.kind is {solver.kind}: leave it out")

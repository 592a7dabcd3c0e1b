"""Neural style transfer by optimisation, as a pure JAX program.

Start reading at `losses` (the formulas), `objective` (their sum), `solver` (L-BFGS) and `transfer` (a run).
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Encoder, load_encoder
    from nst_jax.transfer.lanes import stylize_grid
    from nst_jax.transfer.loop import Progress, Result, stylize

__version__ = version("nst_jax")
__all__ = ["Encoder", "Progress", "Result", "__version__", "load_encoder", "stylize", "stylize_grid"]

_HOMES = {
    **dict.fromkeys(("Encoder", "load_encoder"), "pretrained.network"),
    **dict.fromkeys(("Progress", "Result", "stylize"), "transfer.loop"),
    "stylize_grid": "transfer.lanes",
}


def __getattr__(name: str) -> Any:
    # Late, so that `nst-jax --help` and a config error do not wait for JAX.
    if name not in _HOMES:
        raise AttributeError(f"module 'nst_jax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"nst_jax.{_HOMES[name]}"), name)

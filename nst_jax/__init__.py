"""Neural style transfer by optimisation, as a pure JAX program.

Start reading at `losses` (the formulas), `objective` (their sum), `solver` (L-BFGS) and `transfer` (a run).
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nst_jax.encoder import Encoder, load_encoder
    from nst_jax.lanes import stylize_grid
    from nst_jax.transfer import Progress, Result, stylize

__version__ = version("nst_jax")
__all__ = ["Encoder", "Progress", "Result", "__version__", "load_encoder", "stylize", "stylize_grid"]

_HOMES = {"Encoder": "encoder", "load_encoder": "encoder", "stylize_grid": "lanes"} | dict.fromkeys(
    ("Progress", "Result", "stylize"), "transfer"
)


def __getattr__(name: str) -> Any:
    # Late, so that `nst-jax --help` and a config error do not wait for JAX.
    if name not in _HOMES:
        raise AttributeError(f"module 'nst_jax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"nst_jax.{_HOMES[name]}"), name)

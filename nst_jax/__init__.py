"""Neural style transfer by optimisation, as a pure JAX program.

Start reading at `losses` (the formulas), `transfer.objective` (their sum), `solvers` (what moves the image)
and `transfer.loop` (a run); docs/architecture.md has the whole.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network, load_network
    from nst_jax.settings import Settings
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.pictures import Places
    from nst_jax.transfer.plan import How
    from nst_jax.transfer.stylize import Progress, stylize, stylize_grid

    __version__: str
__all__ = [
    "How",
    "Network",
    "Places",
    "Progress",
    "Result",
    "Settings",
    "__version__",
    "load_network",
    "stylize",
    "stylize_grid",
]

_HOMES = {
    **dict.fromkeys(("Network", "load_network"), "pretrained.network"),
    "Settings": "settings",
    "How": "transfer.plan",
    "Places": "transfer.pictures",
    "Result": "transfer.looks",
    **dict.fromkeys(("Progress", "stylize", "stylize_grid"), "transfer.stylize"),
}


def __getattr__(name: str) -> object:
    # Late, so that `nst-jax --help` and a config error do not wait for JAX.
    if name == "__version__":
        from importlib.metadata import version

        return version("nst_jax")
    if name not in _HOMES:
        raise AttributeError(f"module 'nst_jax' has no attribute {name!r}")
    return getattr(import_module(f"nst_jax.{_HOMES[name]}"), name)

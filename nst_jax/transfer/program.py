"""What of a run shapes its compiled program, apart from the shapes of arrays."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from nst_jax.config import StyleKind
from nst_jax.losses.conventions import ConventionName
from nst_jax.losses.patches import BLOCK_BYTES
from nst_jax.networks import vgg
from nst_jax.networks.convolution import Engine, Padding
from nst_jax.solvers import solver
from nst_jax.transfer import objective

Precision = Literal["auto", "f32", "tf32", "bf16"]

_MATMUL = {"auto": None, "f32": "float32", "tf32": "tensorfloat32", "bf16": "float32"}
"""JAX's words. With bf16 it is the arrays that are narrow."""

SEEING = ("pool", "padding", "engine", "recompute", "dtype")
"""Options of `objective.representations`."""


@dataclass(frozen=True)
class Program:
    """All that shapes the compiled program, besides the shapes of its arrays."""

    pool: vgg.Pool
    padding: Padding
    convention: ConventionName
    method: str
    linesearch: Any
    history: int
    learning_rate: float
    engine: Engine = "auto"
    precision: Precision = "auto"
    recompute: int = 0
    kind: StyleKind = "gram"
    patch_size: int = 3
    patch_bytes: int = BLOCK_BYTES
    variety: float = 0.0
    rematch: int = 1
    """Evaluations with the same matches."""

    def build(self) -> solver.Method:
        """Return the functions to be compiled."""
        options = self.matching | self.seeing
        fun = partial(objective.loss, convention=self.convention, kind=self.kind, **options)
        if self.method == "adam":
            method = solver.adam(fun, learning_rate=self.learning_rate)
        elif self.method == "lbfgsb":  # what moves the image is `lbfgsb.steps`
            method = solver.evaluating(fun)
        else:
            method = solver.lbfgs(fun, history=self.history, linesearch=self.linesearch)
        return method

    @property
    def seeing(self) -> dict[str, Any]:
        """How the network is looked through."""
        return {name: getattr(self, name) for name in SEEING}

    @property
    def matching(self) -> dict[str, Any]:
        """How patches are matched."""
        return {name: getattr(self, name) for name in ("patch_size", "patch_bytes", "variety")}

    @property
    def holding(self) -> bool:
        """Whether matches are held for some evaluations."""
        return self.kind == "patch" and self.rematch > 1

    @property
    def dtype(self) -> Any:
        """Of features and network; None: float32."""
        return jnp.bfloat16 if self.precision == "bf16" else None

    def precisely(self) -> Any:
        """Return a context in which matrix products and convolutions are as precise as this program wants.

        It is meant to surround the calls of compiled functions: gradients are traced after the function is.
        """
        return jax.default_matmul_precision(_MATMUL[self.precision])

    @property
    def searching(self) -> bool:
        """Whether a step takes a number of evaluations that is not known before."""
        return self.method == "lbfgs" and self.linesearch == "zoom"

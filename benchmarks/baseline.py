"""The objective of nst_jax in plain PyTorch and torch.optim.LBFGS, to measure against. Imports no JAX.

Written as PyTorch programs for style transfer are: `conv2d`, a rectifier in place, `avg_pool2d`, Grams by
matrix products, autograd. The optimiser has the settings of neural-style-pt.

Images are those of the optimiser (BGR, 0 to 255, minus the mean), here ``(1, 3, height, width)``.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # as everybody calls it

from nst_jax.losses.conventions import CONVENTIONS

CONTENT_LAYERS = ("conv4_2",)
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

FIRST_GRADIENT = 3.0
"""Root mean square of the first gradient that the optimiser sees, in grey levels, as in solver_quality.py.
Unscaled, this loss is too small for torch's L-BFGS to move at all."""


class Objective(NamedTuple):
    """The loss of an image, and the loss with its gradient."""

    forward: Callable[[torch.Tensor], torch.Tensor]
    value_and_grad: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def to_tensor(image: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Return an image ``(height, width, 3)`` as ``(1, 3, height, width)``."""
    return torch.tensor(np.ascontiguousarray(image.transpose(2, 0, 1)[None]), device=device)


def build(
    params: Mapping[str, Mapping[str, np.ndarray]],
    content: np.ndarray,
    style: np.ndarray,
    *,
    pool: str = "avg",
    channels_last: bool = False,
    convention: str = "gatys2016",
    device: str = "cpu",
    precision: str = "f32",
    compiled: bool = False,
) -> Objective:
    """Return the objective of `nst_jax.transfer.objective.loss` with the convention's own weights.

    Args:
        params: kernels ``(3, 3, in, out)`` and biases by layer name, as nst_jax has them.
        content: image in the network's input space, ``(height, width, 3)``.
        style: likewise, of any size.
        pool: ``avg`` or ``max``, over 2 x 2 pixels.
        channels_last: keep features as (height, width, channels) in memory.
        convention: name in `CONVENTIONS`.
        device: of torch.
        precision: ``f32``, ``tf32`` or ``bf16`` (convolutions in bfloat16, Grams and losses in float32).
        compiled: let `torch.compile` compile the loss.
    """
    set_precision(precision)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pooled = partial(F.avg_pool2d if pool == "avg" else F.max_pool2d, kernel_size=2, stride=2)
    deepest = max((*CONTENT_LAYERS, *STYLE_LAYERS))
    network = {
        name: (
            torch.tensor(layer["kernel"].transpose(3, 2, 0, 1), device=device).contiguous(
                memory_format=layout
            ),
            torch.tensor(layer["bias"], device=device),
        )
        for name, layer in sorted(params.items())
        if name <= deepest
    }

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        x, found = x.contiguous(memory_format=layout), {}
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            for name, (kernel, bias) in network.items():
                if name.endswith("_1") and name != "conv1_1":
                    x = pooled(x)
                x = F.relu(F.conv2d(x, kernel, bias, padding=1), inplace=True)
                if name in (*CONTENT_LAYERS, *STYLE_LAYERS):
                    found[name] = x
        return {name: feature.float() for name, feature in found.items()}

    def gram(feature: torch.Tensor) -> torch.Tensor:
        channels, positions = feature.shape[1], feature.shape[2] * feature.shape[3]
        if channels_last:  # the matrix as it lies in memory
            rows = feature.permute(0, 2, 3, 1).reshape(positions, channels)
            return rows.T @ rows / positions
        rows = feature.reshape(channels, positions)
        return rows @ rows.T / positions

    rules = CONVENTIONS[convention]
    with torch.no_grad():
        found = features(to_tensor(content, device))
        P = {name: found[name] for name in CONTENT_LAYERS}
        found = features(to_tensor(style, device))
        A = {name: gram(found[name]) for name in STYLE_LAYERS}
        del found  # the rest would stay for as long as the objective

    def share(layers: tuple[str, ...]) -> float:
        return 1 / len(layers) if rules.layers_share else 1.0

    def loss(x: torch.Tensor) -> torch.Tensor:
        found, total = features(x), torch.zeros((), device=device)
        for name, target in P.items():
            factor = rules.content_factor * (target.numel() if rules.content_sum else 1.0)
            weight = rules.content_weight * share(CONTENT_LAYERS) * factor
            total = total + weight * (found[name] - target).square().mean()
        for name, target in A.items():
            factor = rules.style_factor / (target.numel() if rules.style_per_channel else 1.0)
            weight = rules.style_weight * share(STYLE_LAYERS) * factor
            total = total + weight * (gram(found[name]) - target).square().mean()
        if rules.total_variation:
            factor = 0.5 if rules.variation_sum else 1 / x.numel()
            variation = x.diff(dim=2).square().sum() + x.diff(dim=3).square().sum()
            total = total + rules.total_variation * factor * variation
        return total

    evaluated = torch.compile(loss) if compiled else loss

    def value_and_grad(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.detach().requires_grad_(True)
        value = evaluated(x)
        (grad,) = torch.autograd.grad(value, x)
        return value.detach(), grad.contiguous()

    return Objective(torch.no_grad()(evaluated), value_and_grad)


def set_precision(precision: str) -> None:
    """Let CUDA use TF32, or not; let cuDNN try its algorithms, for shapes stay the same."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision != "f32"
    torch.backends.cuda.matmul.allow_tf32 = precision != "f32"


def run(
    objective: Objective, x: torch.Tensor, *, evaluations: int, history: int = 100
) -> list[tuple[float, float]]:
    """Minimise from ``x`` with L-BFGS as neural-style-pt sets it: lr 1, history 100, no line search.

    The first gradient, which scales the loss, is computed before the clock starts.

    Returns:
        For every evaluation the seconds since the start and the loss, unscaled.
    """
    scale = FIRST_GRADIENT / objective.value_and_grad(x)[1].square().mean().sqrt()
    image = x.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [image],
        lr=1,
        max_iter=evaluations,
        max_eval=evaluations,
        tolerance_grad=-1,
        tolerance_change=-1,
        history_size=history,
    )
    curve: list[tuple[float, float]] = []
    begun = time.perf_counter()

    def closure() -> torch.Tensor:
        value, grad = objective.value_and_grad(image)
        image.grad = grad * scale
        loss = float(value)
        curve.append((time.perf_counter() - begun, loss))
        return value * scale

    optimiser.step(closure)
    return curve

"""Pictures of a run's numbers: the loss curve as SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from nst_jax.typing import Json

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 70, 150, 30, 45
_COLOURS = ("#1b1b1b", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_FLOOR = 1e-6
"""Terms below this share of the first loss are left out: on a log scale they would squeeze all others."""


def loss_curve(metrics: Sequence[Mapping[str, Json]], *, title: str = "") -> str:
    """Return the loss and its terms over the evaluations as an SVG document, on a log scale.

    Args:
        metrics: records with ``evaluations``, ``loss`` and ``terms`` (a mapping of names to numbers).
        title: a line above the curves.
    """
    curves = _curves(metrics)
    values = [value for points in curves.values() for _, value in points]
    last = max((m["evaluations"] for m in metrics), default=1)
    low, high = (
        (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))) if values else (0, 1)
    )
    high = max(high, low + 1)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(evaluations: float) -> float:
        return _LEFT + width * evaluations / last

    def y(value: float) -> float:
        return _TOP + height * (high - math.log10(value)) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="18">{escape(title)}</text>',
    ]
    for power in range(low, high + 1, max(1, (high - low) // 8)):
        at = y(10.0**power)
        parts.append(f'<path d="M{_LEFT} {at:.1f}h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    for tick in range(5):
        at = last * tick / 4
        parts.append(f'<text x="{x(at):.1f}" y="{_HEIGHT - 26}" text-anchor="middle">{at:.0f}</text>')
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 8}" text-anchor="middle">evaluations</text>')
    for index, (name, points) in enumerate(curves.items()):
        colour, at = _COLOURS[index % len(_COLOURS)], _TOP + 10 + 18 * index
        line = " ".join(f"{x(e):.1f},{y(v):.1f}" for e, v in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{1 + (index == 0)}"/>'
        )
        parts.append(f'<path d="M{_WIDTH - _RIGHT + 12} {at}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 36}" y="{at + 4}">{escape(name)}</text>')
    return "".join([*parts, "</svg>\n"])


def _curves(metrics: Sequence[Mapping[str, Json]]) -> dict[str, list[tuple[int, float]]]:
    names = ["loss", *(metrics[0]["terms"] if metrics else ())]
    first = metrics[0]["loss"] if metrics else 1.0
    curves = {}
    for name in names:
        points = [(m["evaluations"], m["loss"] if name == "loss" else m["terms"][name]) for m in metrics]
        points = [(e, v) for e, v in points if math.isfinite(v) and v > 0 and v > _FLOOR * first]
        if points:
            curves[name] = points
    return curves

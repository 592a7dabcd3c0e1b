"""What was painted, for people to look at: the loss curve of a run as SVG, and a sweep as an HTML page."""

from nst_jax.report.curve import loss_curve
from nst_jax.report.page import page

__all__ = ["loss_curve", "page"]

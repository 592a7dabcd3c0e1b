"""What was painted, for people to look at: a run's loss curve as SVG, sweeps and figures as HTML pages."""

from nst_jax.runs.report.curve import loss_curve
from nst_jax.runs.report.figures import figures_page
from nst_jax.runs.report.page import page

__all__ = ["figures_page", "loss_curve", "page"]

"""Pictures by name: samples that come with the program, and works of the papers that they stand in for."""

from nst_jax.samples.catalogue import CREDITS, Sample, describe, load, names

__all__ = ["CREDITS", "Sample", "describe", "load", "names"]

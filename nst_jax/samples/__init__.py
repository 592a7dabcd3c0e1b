"""Pictures that come along, or stand in for others, by name."""

from nst_jax.samples.catalogue import CREDITS, Sample, describe, load, names

__all__ = ["CREDITS", "Sample", "describe", "load", "names"]

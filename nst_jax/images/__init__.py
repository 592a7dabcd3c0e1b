"""Image files to arrays and back: the one package that opens Pillow and tifffile.

A picture is a float32 array of shape (height, width, 3): sRGB as it is displayed (not linear light), values
in [0, 1]. Transparency, where there is any, is a second array of shape (height, width), not multiplied in.
"""

from nst_jax.images.decoding import MAX_PIXELS
from nst_jax.images.filling import filled
from nst_jax.images.kinds import SUFFIXES as READABLE
from nst_jax.images.labels import read_map
from nst_jax.images.pictures import FloatArray, Picture, to_levels, to_unit
from nst_jax.images.reading import read, read_text, size_of
from nst_jax.images.sheet import contact_sheet
from nst_jax.images.sizes import (
    bounded,
    canvas,
    crop,
    fit,
    middle_square,
    resize,
    resize_map,
    resize_smoothly,
    turned,
)
from nst_jax.images.writing import SUFFIXES, check_sides, check_suffix, encode, write

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "SUFFIXES",
    "FloatArray",
    "Picture",
    "bounded",
    "canvas",
    "check_sides",
    "check_suffix",
    "contact_sheet",
    "crop",
    "encode",
    "filled",
    "fit",
    "middle_square",
    "read",
    "read_map",
    "read_text",
    "resize",
    "resize_map",
    "resize_smoothly",
    "size_of",
    "to_levels",
    "to_unit",
    "turned",
    "write",
]

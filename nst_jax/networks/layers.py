"""The old name of `architecture`, until nobody imports it any more."""

from nst_jax.networks.architecture import block_and_index as block_and_index
from nst_jax.networks.architecture import canonical_layers as canonical_layers
from nst_jax.networks.architecture import kernel_shapes as kernel_shapes
from nst_jax.networks.architecture import layer_names as layer_names
from nst_jax.networks.architecture import stride as stride

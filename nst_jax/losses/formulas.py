"""The losses of neural style transfer: arrays in, scalar out.

Features F are ``(height, width, channels)``, after their ReLU. With N channels and M = height * width
positions, F_ij of the papers is channel i at position j. References are to Gatys, Ecker & Bethge, "Image
style transfer using convolutional neural networks" (CVPR 2016).
"""

import jax
import jax.numpy as jnp
from jax import Array


def content_loss(F: Array, P: Array) -> Array:
    """Return the mean squared difference of two feature maps, C = sum_ij (F_ij - P_ij)^2 / (N M).

    Equation (1) is C * N M / 2; `conventions.CONVENTIONS` holds such factors. The gradient with respect to
    the layer's activations is that of equation (2): proportional to F - P, and zero where F is not positive,
    because F comes after the rectifier.

    Args:
        F: features of the generated image, ``(height, width, channels)``.
        P: features of the content image, of the same shape.
    """
    return jnp.mean(jnp.square(F - P))


@jax.custom_jvp
def gram_matrix(F: Array) -> Array:
    """Return the Gram matrix per position, G_ij / M with G_ij = sum_k F_ik F_jk, ``(channels, channels)``.

    Equation (3). Differs from the paper: divided here by the M positions, where the paper divides in equation
    (4), so that images of different sizes can be compared. Of float32 for features of a narrower type.
    """
    positions = _positions(F)  # one plain matrix product, on a CPU twice as fast as einsum
    return _product(positions, positions) / len(positions)


@gram_matrix.defjvp
def _gram_matrix_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # G is symmetric: its gradient is one matrix product in this form, two if left to the product rule.
    (F,), (change,) = primals, tangents
    half = _product(_positions(F), _positions(change)) / len(_positions(F))
    return gram_matrix(F), half + half.T


def _positions(F: Array) -> Array:
    return F.reshape(-1, F.shape[-1])


def _product(a: Array, b: Array) -> Array:
    """Return a^T b, added up in float32 at least."""
    return jnp.matmul(a.T, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


def guided_gram_matrices(F: Array, guides: Array) -> Array:
    """Return a Gram matrix for each region, ``(regions, channels, channels)``.

    G_r = F_r^T F_r with F_r = T_r F, the features times a guidance channel T_r = g_r / sqrt(sum g_r^2): Gatys
    et al., "Controlling perceptual factors in neural style transfer" (CVPR 2017), equations (5) and (6). With
    a single region of ones that is `gram_matrix`; a region without positions has a matrix of zeros.

    Args:
        F: features, ``(height, width, channels)``.
        guides: g, ``(height, width, regions)``: the share of each region in each position.
    """
    F, energy = jnp.asarray(F), jnp.sum(jnp.square(guides), (0, 1))
    T = _positions(guides / jnp.sqrt(jnp.where(energy > 0, energy, 1.0)))
    positions = _positions(F)
    return jnp.stack([_product(positions * t, positions * t) for t in T.astype(F.dtype).T[:, :, None]])


def style_loss(G: Array, A: Array) -> Array:
    """Return the mean squared difference of two Gram matrices per position, S = sum_ij (G_ij - A_ij)^2 / N^2.

    With G and A from `gram_matrix`, equation (4) is S / 4: E = sum_ij (G_ij - A_ij)^2 / (4 N^2 M^2). The
    gradient is that of equation (6).

    Args:
        G: Gram matrix of the generated image, ``(channels, channels)``.
        A: Gram matrix of the style image, of the same shape.
    """
    return jnp.mean(jnp.square(G - A))


def total_variation(x: Array) -> Array:
    """Return the sum of squared differences of neighbouring pixels, in both directions.

    sum (x[i+1, j] - x[i, j])^2 + sum (x[i, j+1] - x[i, j])^2 over pixels and channels. The papers use no such
    prior; Johnson's neural-style does, and half of this sum is the function whose gradient it adds.

    Args:
        x: image ``(height, width, channels)``, in grey levels (0 to 255).
    """
    return jnp.sum(jnp.square(x[1:] - x[:-1])) + jnp.sum(jnp.square(x[:, 1:] - x[:, :-1]))

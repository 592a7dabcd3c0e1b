"""Slow, plain NumPy versions of what the package computes, written from the papers."""

import numpy as np


def convolution(x, kernel, bias, padding="zero"):
    """3x3 convolution of (height, width, in) with (3, 3, in, out), one tap at a time, in float64."""
    mode = {"zero": "constant", "replicate": "edge", "wrap": "wrap"}[padding]
    padded = np.pad(np.float64(x), ((1, 1), (1, 1), (0, 0)), mode=mode)
    height, width, _ = x.shape
    y = np.zeros((height, width, kernel.shape[-1]))
    for i in range(3):
        for j in range(3):
            y += padded[i : i + height, j : j + width] @ np.float64(kernel[i, j])
    return y + np.float64(bias)


def pool(x, kind):
    corners = [
        x[i : x.shape[0] // 2 * 2 : 2, j : x.shape[1] // 2 * 2 : 2] for i in range(2) for j in range(2)
    ]
    return np.maximum.reduce(corners) if kind == "max" else sum(corners) / 4


def vgg(params, x, kind="avg", padding="zero"):
    """All features of a VGG network, after their ReLU, by name."""
    found, block = {}, 1
    for name in sorted(params, key=lambda n: tuple(map(int, n[4:].split("_")))):
        if int(name[4]) != block:
            x, block = pool(x, kind), int(name[4])
        x = np.maximum(convolution(x, params[name]["kernel"], params[name]["bias"], padding), 0)
        found[name] = x
    return found


def gram(F):
    """Equation (3) by its sum, F of shape (height, width, channels); not divided by anything."""
    flat = F.reshape(-1, F.shape[-1])
    n = flat.shape[1]
    G = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            G[i, j] = np.sum(flat[:, i] * flat[:, j])
    return G


def content_equation(F, P):
    """Equation (1)."""
    return 0.5 * np.sum((F - P) ** 2)


def style_equation(F, S):
    """Equation (4) of the features of the generated and the style image, of one size."""
    M, N = F.shape[0] * F.shape[1], F.shape[2]
    return np.sum((gram(F) - gram(S)) ** 2) / (4 * N**2 * M**2)


def style_gradient(F, S):
    """Equation (6): the derivative of equation (4) with respect to the activations."""
    M, N = F.shape[0] * F.shape[1], F.shape[2]
    flat = F.reshape(-1, N)  # the transpose of the paper's F
    return np.where(F > 0, (flat @ (gram(F) - gram(S))).reshape(F.shape) / (N**2 * M**2), 0.0)

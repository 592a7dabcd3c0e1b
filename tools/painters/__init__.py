"""What paints the sample paintings and draws the sample maps, with NumPy and without JAX."""

"""What moves the image: L-BFGS, Adam and L-BFGS-B behind one seam."""

"""Networks with their parameters: found, read, checked, made and normalised."""

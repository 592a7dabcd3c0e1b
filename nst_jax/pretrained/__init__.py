"""Parameters of networks: found, read, checked, made and normalised."""

"""Runs on files: configs in, pictures and their records out."""

"""Runs on arrays: pictures and settings become a problem, the problem an image."""

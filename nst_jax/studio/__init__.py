"""The studio: one page in a browser, on which pictures are chosen, painted, changed as they grow, and saved.

`server` speaks HTTP, and knows nothing of runs: it asks a desk. `guard` says whom it answers, `routes` which
path leads to what, `answers` what is asked of the desk, and `uploads` keeps the files that a page gave.
"""

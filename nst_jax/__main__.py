"""``python -m nst_jax`` and the console script ``nst-jax``."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from nst_jax.cli import run
    from nst_jax.cli.hosts import ended
    from nst_jax.cli.process import open_streams

    open_streams()
    sys.exit(ended(lambda: run(sys.argv[1:])))


if __name__ == "__main__":
    main()

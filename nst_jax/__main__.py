"""``python -m nst_jax`` and the console script ``nst-jax``."""

import os
import sys
from pathlib import Path

_PAGES = "glibc.malloc.hugetlb=1"
BEGUN = "NST_JAX_BEGUN"
"""Set in a process that has begun anew, so that it does so once, whatever becomes of the other variable."""


def start() -> None:
    """Run `main` in a process whose memory comes in large pages, where it has to ask for them."""
    if _wants_large_pages():
        tunables = filter(None, (os.environ.get("GLIBC_TUNABLES"), _PAGES))
        os.environ |= {"GLIBC_TUNABLES": ":".join(tunables), BEGUN: "1"}
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    main()


def _wants_large_pages() -> bool:
    """Tell whether the C library should ask for them: for every step XLA takes memory anew.

    The system clears that page by page, which takes some 6 % of a step longer than by pages of 2 MiB. It can
    be told of these only before a process begins.
    """
    if sys.platform != "linux" or BEGUN in os.environ or "hugetlb" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        system = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (OSError, ValueError):
        return False
    is_able = name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    return is_able and "[madvise]" in system and bool(sys.executable)


def main() -> None:
    """Run the command line and exit with its code."""
    from nst_jax.cli import run
    from nst_jax.cli.hosts import ended
    from nst_jax.cli.process import open_streams

    open_streams()
    sys.exit(ended(lambda: run(sys.argv[1:])))


if __name__ == "__main__":
    start()

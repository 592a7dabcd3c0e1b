"""What several batches, or one problem again, would compute anew: prepared networks and targets."""

import threading
from collections.abc import Callable

from nst_jax.typing import Tree

Remember = Callable[[Callable[[], Tree], Callable[[], object]], Tree]
"""Returns what a function makes, or what it made before for an equal key."""


def always(make: Callable[[], Tree], key: Callable[[], object]) -> Tree:
    """Return what a function makes: nothing is remembered."""
    return make()


def remembering(most: int) -> Remember:
    """Return a function that remembers so many things, the latest; two threads make none of them twice."""
    known: dict[object, Tree] = {}
    lock = threading.RLock()

    def remember(make: Callable[[], Tree], key: Callable[[], object]) -> Tree:
        with lock:
            name = key()
            if name not in known:
                if len(known) >= most:
                    known.pop(next(iter(known)))
                known[name] = make()
            return known[name]

    return remember

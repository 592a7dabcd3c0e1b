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
    """Return a function that remembers so many things, those asked for last; two threads make none twice."""
    known: dict[object, Tree] = {}
    lock = threading.RLock()

    def remember(make: Callable[[], Tree], key: Callable[[], object]) -> Tree:
        with lock:
            name = key()
            if name in known:
                known[name] = known.pop(name)  # it is the latest now
                return known[name]
            if len(known) >= most:  # before, so that there is room for it
                known.pop(next(iter(known)))
            known[name] = make()  # which may remember things itself
            while len(known) > most:
                known.pop(next(iter(known)))
            return known[name]

    return remember

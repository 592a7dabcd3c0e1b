"""What has changed, for many who look at it: each is told what it does not know yet."""

import threading
from collections.abc import Callable


class Board:
    """A count of changes on which to wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self.version = 1

    def change(self) -> int:
        """Note a change, tell everyone who waits, and return its number."""
        with self._changed:
            self.version += 1
            self._changed.notify_all()
            return self.version

    def wait(self, is_news: Callable[[], bool], timeout: float) -> bool:
        """Wait until there is something new, at most some seconds; tell whether there is."""
        with self._changed:
            return self._changed.wait_for(is_news, timeout)

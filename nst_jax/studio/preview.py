"""The latest picture of a run, for whoever asks: fetched only if someone does, and encoded once."""

import math
import threading
import time
from collections.abc import Callable

from nst_jax import images
from nst_jax.images import FloatArray

SHOWN, QUALITY = 1024, 88
"""Pixels of the longest side of a picture that is shown, and how well it is stored."""

SMALL = 160
"""The same of the small one in a list."""

SECONDS = 0.25
"""Between two pictures, at least."""

Make = Callable[[], FloatArray]


def jpeg(rgb: FloatArray, longest: int = SHOWN) -> bytes:
    """Return a picture as it is sent to a page."""
    return images.encode("shown.jpg", images.bounded(rgb, longest), quality=QUALITY)


class Preview:
    """The latest picture and its version, of which the first is 1."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._make: Make | None = None
        self._encoded: tuple[int, bytes] = (0, b"")
        self._is_over = False
        self._shown = -math.inf
        self.version = 0
        self.is_wanted = False
        """Whether anyone waits for a newer picture."""

    @property
    def is_due(self) -> bool:
        """Whether it is time for a newer one: the first, or somebody waits, and not just now had one."""
        is_soon = time.monotonic() - self._shown < SECONDS
        return not self.version or (self.is_wanted and not is_soon)

    def show(self, make: Make, *, is_last: bool = False) -> None:
        """Give a newer picture, as a function that is called if someone wants it, on their own thread."""
        with self._changed:
            self._make, self.is_wanted, self._is_over = make, False, is_last
            self._shown = time.monotonic()
            self.version += 1
            self._changed.notify_all()

    def wait(self, after: int, timeout: float) -> tuple[bytes, int] | None:
        """Return the picture if its version is above ``after``, or the next one as soon as it is there.

        Args:
            after: the version that is known.
            timeout: seconds to wait for a newer one.

        Returns:
            A JPEG and its version, or None.
        """
        with self._changed:
            if self.version <= after:
                self.is_wanted = True
                self._changed.wait_for(lambda: self.version > after or self._is_over, timeout)
            if self.version <= after or self._make is None:
                return None
        return self.encoded()

    def encoded(self) -> tuple[bytes, int]:
        """Return the latest picture as a JPEG, and its version."""
        with self._encoding:
            with self._changed:
                make, version = self._make, self.version
            if self._encoded[0] != version:
                assert make is not None
                self._encoded = version, jpeg(make())
            return self._encoded[1], self._encoded[0]

    def small(self) -> bytes:
        """Return the latest picture as a small JPEG."""
        with self._changed:
            make = self._make
        assert make is not None
        return jpeg(make(), SMALL)

    def end(self) -> None:
        """Let go of everyone who waits: there will be no newer picture."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

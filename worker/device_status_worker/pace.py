"""How long a worker waits between two attempts to be served by its broker."""

from __future__ import annotations

import random
import time
from typing import Final

FIRST: Final = 0.5
"""Seconds before the second attempt; the first comes at once: most lost connections can be made again."""
LONGEST: Final = 3.0
"""Seconds: a broker that works again, or an endpoint that has moved, is found within them."""
STEADY: Final = 10.0
"""Seconds that a connection must have served for the count to begin anew."""


class Pace:
    """Counts failures in a row."""

    def __init__(self) -> None:
        self._failures = 0
        self._connected_at = 0.0

    def connected(self) -> None:
        """A connection was made; that says little: much of a broker's state shows with the first command."""
        self._connected_at = time.monotonic()

    def failed(self) -> None:
        """A connection was lost, or the broker refused a command."""
        if self._connected_at and time.monotonic() - self._connected_at > STEADY:
            self._failures = 0
        self._failures += 1
        self._connected_at = 0.0

    def delay(self) -> float:
        """Seconds to wait before the next attempt."""
        if self._failures < 2:
            return 0.0
        # No power of a large number: an outage may last for days.
        seconds: float = min(LONGEST, FIRST * 2 ** min(self._failures - 2, 10))
        return seconds * random.uniform(0.75, 1.0)  # noqa: S311

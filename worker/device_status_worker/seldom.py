"""Logs a trouble that lasts once in a while, however often it is met."""

from __future__ import annotations

import logging
import time
from threading import Lock
from typing import Final

LINE_EVERY: Final = 5.0
"""Seconds between two lines in the log, if nothing new is to be said."""


class Seldom:
    """Says in one line what all threads of a process wait for."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = Lock()
        self._last = ""
        self._next_at = 0.0

    def error(self, text: str) -> None:
        """Log this text, unless the same was logged less than `LINE_EVERY` seconds ago."""
        now = time.monotonic()
        with self._lock:
            if text == self._last and now < self._next_at:
                return
            self._last, self._next_at = text, now + LINE_EVERY
        self._logger.error(text)

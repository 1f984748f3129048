"""What a worker does while the ledger is away: wait. Nothing can be done without it, and nothing dropped."""

from __future__ import annotations

import logging
import time
from threading import Event
from typing import Final

from device_status.errors import LedgerUnavailableError
from device_status.scripts import Patience

logger = logging.getLogger(__name__)

DELAY: Final = 1.0
"""Seconds between two tries."""
LINE_EVERY: Final = 5.0
"""Seconds between two lines in the log."""


class ShuttingDownError(Exception):
    """The worker stops while the ledger is away: the message must go back to the broker."""


def patience_until(stop: Event) -> Patience:
    """Wait and try again until `stop` is set."""

    next_line_at = 0.0

    def wait(error: LedgerUnavailableError) -> None:
        nonlocal next_line_at
        # One line for all the threads that wait.
        if time.monotonic() >= next_line_at:
            next_line_at = time.monotonic() + LINE_EVERY
            logger.error("waiting for the ledger: %s", error)
        if stop.wait(DELAY):
            raise ShuttingDownError from error

    return wait

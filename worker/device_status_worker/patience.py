"""What a worker does while the ledger is away: wait. Nothing can be done without it, and nothing dropped."""

from __future__ import annotations

import logging
from threading import Event
from typing import Final

from device_status.errors import LedgerUnavailableError
from device_status.scripts import Patience
from device_status_worker.seldom import Seldom

logger = logging.getLogger(__name__)

DELAY: Final = 1.0
"""Seconds between two tries."""


class ShuttingDownError(Exception):
    """The worker stops while the ledger is away: the message must go back to the broker."""


def patience_until(stop: Event) -> Patience:
    """Wait and try again until `stop` is set."""
    trouble = Seldom(logger)

    def wait(error: LedgerUnavailableError) -> None:
        trouble.error(f"waiting for the ledger: {error}")
        if stop.wait(DELAY):
            raise ShuttingDownError from error

    return wait

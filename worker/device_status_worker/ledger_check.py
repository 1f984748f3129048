"""A worker's warning of a ledger that can't be trusted, given as soon as the ledger answers."""

from __future__ import annotations

import logging
from threading import Event, Thread
from typing import Any, Final

import redis

from device_status.health import ledger_warnings

logger = logging.getLogger(__name__)

AGAIN: Final = 5.0
"""Seconds between two tries."""


def start(client: Any, stop: Event) -> None:
    """Check in a thread: a worker waits for its ledger, it does not refuse to start."""
    Thread(target=_check, args=(client, stop), name="ledger-check", daemon=True).start()


def _check(client: Any, stop: Event) -> None:
    told = False
    while True:
        try:
            for warning in ledger_warnings(client):
                logger.warning(warning)
        except redis.RedisError as error:
            if not told:
                logger.warning("ledger: does not answer (%s); the worker waits for it", type(error).__name__)
            told = True
            if stop.wait(AGAIN):
                return
        else:
            return

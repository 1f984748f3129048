"""What a worker says of a ledger that can't be trusted, as soon as the ledger answers."""

from __future__ import annotations

import logging
from threading import Event, Thread
from typing import Any, Final

import redis
from celery.worker import state

from device_status.durability import Durability
from device_status.health import ledger_warnings, unmet_durability

logger = logging.getLogger(__name__)

AGAIN: Final = 5.0
"""Seconds between two tries."""
WRONG_SETTINGS: Final = 3
"""Exit code of a worker whose settings can't work."""


def start(client: Any, durability: Durability, stop: Event) -> None:
    """Check in a thread: a worker waits for its ledger, it does not refuse to start."""
    Thread(target=_check, args=(client, durability, stop), name="ledger-check", daemon=True).start()


def _check(client: Any, durability: Durability, stop: Event) -> None:
    told = False
    while True:
        try:
            for warning in ledger_warnings(client):
                logger.warning(warning)
            _check_durability(client, durability)
        except redis.RedisError as error:
            if not told:
                logger.warning("ledger: does not answer (%s); the worker waits for it", type(error).__name__)
            told = True
            if stop.wait(AGAIN):
                return
        else:
            return


def _check_durability(client: Any, durability: Durability) -> None:
    unmet = unmet_durability(client, durability)
    if unmet is None:
        return
    if unmet.may_pass:
        logger.warning("%s; commands wait until then", unmet.text)
    else:
        logger.error("%s; the worker ends", unmet.text)
        # Celery looks at it several times a second, and ends in order.
        state.should_stop = WRONG_SETTINGS

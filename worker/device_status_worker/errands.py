"""What has to be done for a message before it may be acknowledged, done in the background until it works.

A message that waits here stays unacknowledged. To give it back to RabbitMQ, or to reconnect for it, would
cost it and its neighbours one of the deliveries after which RabbitMQ drops a message (its delivery limit).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from device_status_worker.redaction import place

logger = logging.getLogger(__name__)

AGAIN: Final = 1.0
"""Seconds between two tries."""

Errand = Callable[[], bool]
"""True once it is done, or there is nothing left to do; False: try again."""


class Errands:
    """Done one after the other, in a thread that ends with the process.

    The messages that wait are bounded by what the broker sends ahead (its prefetch count).
    """

    def __init__(self, name: str, stop: Event) -> None:
        self._name = name
        self._stop = stop
        self._errands: SimpleQueue[Errand] = SimpleQueue()
        self._thread: Thread | None = None

    def add(self, errand: Errand) -> None:
        """Do it as soon as the ones before it are done; call this from one thread only."""
        self._errands.put(errand)
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            errand = self._errands.get()
            while not self._is_done(errand):
                if self._stop.wait(AGAIN):
                    # The broker gives what waits to another worker.
                    return

    def _is_done(self, errand: Errand) -> bool:
        try:
            return errand()
        except Exception as error:
            # The text of the error may hold the message.
            name = type(error).__name__
            logger.error("%s met %s at %s and goes on", self._name, name, place(error))  # noqa: TRY400
            return False

"""Keeps this worker's entry in the registry, and warns of workers whose settings differ."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from threading import Event, Thread
from typing import Final

from device_status.errors import DeviceStatusError, LedgerUnavailableError
from device_status.ledger import Ledger
from device_status.registry import WorkerEntry, deregister, differences, register
from device_status_worker.redaction import place

logger = logging.getLogger(__name__)

RENEW_EVERY: Final = 5.0
"""Seconds between two renewals."""
_LAST_CALL: Final = 2.0
"""Seconds that a worker's end waits for its entry to be taken away; one that stays vanishes by itself."""


class Registration:
    """Of one worker process; it is renewed in a thread of its own until `stop` is set."""

    def __init__(self, ledger: Ledger, stop: Event) -> None:
        self._ledger = ledger
        self._stop = stop
        self._id = secrets.token_hex(8)
        self._warned_of: set[str] = set()
        self._thread: Thread | None = None

    def start(self, entry: WorkerEntry) -> None:
        """Keep the entry, in a thread that ends with the process."""
        self._thread = Thread(target=self._run, args=(entry,), name="registration", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Return when the entry is gone, after `stop` was set, or `_LAST_CALL` is over."""
        if self._thread:
            self._thread.join(_LAST_CALL)

    def renew(self, entry: WorkerEntry) -> None:
        """Renew the entry, and warn of each difference between the workers once, for as long as it lasts.

        Raises:
            LedgerUnavailableError, DeviceStatusError: the next renewal does it.
        """
        found = differences(register(self._ledger, self._id, entry))
        for each in found:
            if each.what not in self._warned_of:
                logger.warning(each.text)
        self._warned_of = {each.what for each in found}

    def _run(self, entry: WorkerEntry) -> None:
        failing = False
        while True:
            try:
                self.renew(entry)
                failing = False
            except LedgerUnavailableError:
                pass  # Whoever has work for it says so.
            except Exception as error:
                if not failing:
                    what = type(error).__name__
                    logger.error("the registration met %s at %s and goes on", what, place(error))  # noqa: TRY400
                failing = True
            if self._stop.wait(RENEW_EVERY):
                break
        with suppress(DeviceStatusError):
            deregister(self._ledger, self._id)

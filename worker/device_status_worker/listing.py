"""Lists what incidents need to know: every user's devices, and where all users are meant, the users.

Unlike commands, users do not travel as messages: they wait in the ledger, and every worker process leases
them from there. So an incident of any size can be paused or cancelled at once, and fills up no queue.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from threading import Event, Thread
from typing import Final

from device_status.incidents import walk
from device_status.ledger import own_ms
from device_status_worker.aws_http import CALL_TIMEOUT
from device_status_worker.handle import Worker
from device_status_worker.listing_devices import Listing, list_devices
from device_status_worker.listing_requests import LEASE
from device_status_worker.listing_users import PoolPage, list_page
from device_status_worker.patience import ShuttingDownError
from device_status_worker.redaction import place

logger = logging.getLogger(__name__)

THREADS: Final = 4
"""Of each process: enough to keep the read quota busy while answers take a tenth of a second."""
IDLE: Final = 1.0
"""Seconds between two looks for work, where there was none."""


class Lister:
    """Works through listings in threads, until `stop` is set."""

    def __init__(self, worker: Worker, stop: Event) -> None:
        self._worker = worker
        self._stop = stop
        self._threads: list[Thread] = []

    def start(self) -> None:
        """Work in threads that end with the process."""
        for number in range(THREADS):
            thread = Thread(target=self._run, name=f"lister-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self) -> None:
        """Return when the threads have finished or given back what they had, after `stop` was set."""
        give_up_at = time.monotonic() + CALL_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))

    def work(self) -> bool:
        """Do the next listing, if there is one; says whether there was."""
        owner, ends_at = secrets.token_hex(8), time.monotonic() + LEASE
        scripts = self._worker.ledger.scripts
        match scripts.run("listing_claim", [], owner, int(LEASE * 1000), own_ms()):
            case ["devices", *fields]:
                list_devices(Listing.read(owner, fields), ends_at, self._worker)
            case ["users", *fields]:
                list_page(PoolPage.read(owner, fields), ends_at, self._worker)
            case ["walk", incident_id]:
                walk(self._worker.ledger, incident_id)
            case _:
                return False
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = self.work()
            except ShuttingDownError:
                return
            except Exception as error:
                # Its lease runs out, and another thread takes it. The text may hold a username.
                logger.error("a lister met %s at %s and goes on", type(error).__name__, place(error))  # noqa: TRY400
                found = False
            if not found:
                self._stop.wait(IDLE * random.uniform(0.8, 1.2))  # noqa: S311

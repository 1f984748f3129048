"""Ends the process if its orderly end takes too long, whatever hangs: Redis, a thread, the log."""

from __future__ import annotations

import logging
import os
import time
from threading import Event, Thread
from typing import Final

logger = logging.getLogger(__name__)

ORDERLY_END: Final = 25.0
"""Seconds for an orderly end: longer than a call to AWS, and less than the 30 that supervisors give."""
_LOG_TAKES: Final = 1.0
"""Seconds that a line in the log may take: whoever reads it may hang as well."""


class LastResort:
    """Waits for `stop` in a thread that dies with the process.

    The thread is there from the start: a signal may come while the main thread itself starts one.
    """

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self.exit_code = 1
        """Of the process, if it comes to that; 1: no signal ended it."""

    def start(self) -> None:
        """Begin to wait."""
        Thread(target=self._run, name="last-resort", daemon=True).start()

    def _run(self) -> None:
        self._stop.wait()
        time.sleep(ORDERLY_END)
        line = Thread(target=self._log, name="last-line", daemon=True)
        line.start()
        line.join(_LOG_TAKES)
        os._exit(self.exit_code)

    def _log(self) -> None:
        logger.error(
            "the worker did not end within %.0f s: broker, ledger or AWS hang; it exits now, and what it has "
            "not given back comes again when its leases are over",
            ORDERLY_END,
        )

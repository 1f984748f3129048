"""The sweeper: publishes again what the ledger says is due: retries, expired claims, lost messages.

It runs in every worker process; a lease lets one at a time work. A duplicate that it publishes is
harmless: the claim decides.
"""

from __future__ import annotations

import logging
import secrets
from threading import Event, Thread
from typing import Final

from device_status.command import Lane
from device_status.dead_letters import purge_past_retention
from device_status.errors import LedgerUnavailableError
from device_status.ledger import PREFIX, Ledger, own_ms
from device_status.publisher import BrokerUnavailableError, Publisher
from device_status_worker.forgetting import forget
from device_status_worker.ledger_clock import LedgerClock, pull_in
from device_status_worker.receive import BUDGET
from device_status_worker.redaction import place

logger = logging.getLogger(__name__)

ROUND: Final = 1.0
"""Seconds between two rounds."""
LEADERSHIP: Final = 5.0
"""Seconds without a round after which another process takes over."""
MOST_A_ROUND: Final = 500
"""Commands of one lane that one round takes."""
GRACE: Final = 30.0
"""Age in seconds at which a queued command is looked after, by a mark sent behind it."""
IN_HAND: Final = BUDGET + 30.0
"""Seconds within which a received command is claimed, or has been put at the end of the queue: the time
that one message may take, and the last command begun in it."""
MARK_AGAIN: Final = 30.0
"""Seconds after which a mark that did not come is published again."""


class Sweeper:
    """Sweeps until `stop` is set."""

    def __init__(self, ledger: Ledger, publisher: Publisher, stop: Event) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._stop = stop
        self._name = secrets.token_hex(8)
        self._clock = LedgerClock(ledger)

    def start(self) -> None:
        """Sweep in a thread that ends with the process."""
        Thread(target=self._run, name="sweeper", daemon=True).start()

    def round(self) -> int:
        """Do what is due now, if it is this sweeper's turn; says how many commands were published.

        Raises:
            LedgerUnavailableError, BrokerUnavailableError: the next round does the rest. What was
                taken as due but not published counts as lost, and comes back as such.
        """
        asked = self._clock.monotonic()
        lead, now = self._ledger.scripts.run("lead", [f"{PREFIX}sweeper"], self._name, int(LEADERSHIP * 1000))
        self._clock.look(asked, now)
        if not lead:
            return 0
        pull_in(self._ledger)
        purge_past_retention(self._ledger)
        forget(self._ledger)
        return sum(self._sweep(lane) for lane in Lane)

    def note_mark(self, lane: Lane, mark: int) -> None:
        """A mark of this lane was received."""
        self._ledger.scripts.run("mark", [f"{PREFIX}watermark:{lane}"], mark)

    def _sweep(self, lane: Lane) -> int:
        lost_before = 0
        match self._ledger.scripts.run(
            "watermark",
            [f"{PREFIX}watermark:{lane}", f"{PREFIX}queued:{lane}"],
            int(GRACE * 1000),
            int(IN_HAND * 1000),
            int(MARK_AGAIN * 1000),
        ):
            case ["publish", mark]:
                self._publisher.publish_mark(lane, mark)
            case ["passed", mark]:
                lost_before = mark
        commands = self._ledger.scripts.run("sweep", [], lane, MOST_A_ROUND, lost_before, own_ms())
        if commands:
            self._publisher.publish(commands, lane)
        if lost_before and commands:
            logger.warning("lane %s: published again after lost messages or as due: %d", lane, len(commands))
        return len(commands)

    def _run(self) -> None:
        failing = False
        while not self._stop.wait(ROUND):
            try:
                while self.round() >= MOST_A_ROUND and not self._stop.is_set():
                    pass
                failing = False
            except (LedgerUnavailableError, BrokerUnavailableError) as error:
                if not failing:
                    logger.error("the sweeper waits: %s", error)  # noqa: TRY400
                failing = True
            except Exception as error:
                # A sweeper that died would leave retries waiting without a sign. The text may hold values.
                logger.error("the sweeper met %s at %s and goes on", type(error).__name__, place(error))  # noqa: TRY400

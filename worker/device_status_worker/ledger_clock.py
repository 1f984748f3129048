"""Notices that the ledger's clock steps, and mends what a step back leaves in the future.

A clock steps when time sync sets it, when its virtual machine is restored, and when a replica on another
host takes over. Each worker compares the ledger's clock with its own monotonic one, from round to round of
its sweeper.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from device_status.ledger import CLOCK, Ledger, own_ms

logger = logging.getLogger(__name__)

TOLERANCE: Final = 2.0
"""Seconds that count as no step: nothing here depends on so little."""
DRIFT: Final = 0.001
"""Seconds in each second by which two sound clocks may drift apart: time sync slews by half of it at most."""
PORTION: Final = 300
"""Members of a sorted set that one script moves: some milliseconds."""
STEPS: Final = 20
"""Scripts in one round, so that the sweeper keeps its lead and its other work."""


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of the ledger's clock, in seconds."""

    asked: float
    """On this process's monotonic clock, before the question …"""
    answered: float
    """… and after the answer: the ledger's clock was read somewhere between."""
    wall: float
    """Since 1970, by this process's clock."""
    ledger: float
    """Since 1970, by the ledger's."""


def step_between(last: Look, look: Look) -> float:
    """By how many seconds the ledger's clock stepped between two looks; 0.0 if it did not.

    While a process is stopped, or waits for its answer, the monotonic clock goes on. While a host is
    suspended, it may not: then the ledger's clock seems to go forward. If the host's own time of day goes
    along, that is no step.
    """
    passed = look.ledger - last.ledger
    least, most = look.asked - last.answered, look.answered - last.asked
    tolerance = TOLERANCE + DRIFT * most
    if passed < least - tolerance:
        return passed - least
    went_along = abs(passed - (look.wall - last.wall)) <= tolerance + most - least
    return passed - most if passed > most + tolerance and not went_along else 0.0


class LedgerClock:
    """Compares each look at the ledger's clock with the one before; for one thread."""

    def __init__(self, ledger: Ledger, monotonic: Callable[[], float] | None = None) -> None:
        self._ledger = ledger
        self._last: Look | None = None
        self.monotonic = monotonic or _monotonic

    def look(self, asked: float, ledger_ms: int) -> None:
        """Take in what the ledger's clock says; the first worker that sees a step records and logs it.

        Parameters:
            asked: when the ledger was asked, by `monotonic`.
        """
        look = Look(asked, self.monotonic(), time.time(), ledger_ms / 1000)
        last = self._last
        if last and (by := step_between(last, look)):
            self._report(by, last, look)
        self._last = look

    def _report(self, by: float, last: Look, look: Look) -> None:
        within = look.answered - last.asked + TOLERANCE
        if self._ledger.scripts.run("clock_step", [CLOCK], int(1000 * by), int(1000 * within)):
            logger.warning(
                "the ledger's clock stepped %s by %.0f s: no command ends by that, but times that it gave "
                "are wrong; look at the time sync of its host, and whether another took over",
                "forward" if by > 0 else "back",
                abs(by),
            )


def pull_in(ledger: Ledger) -> None:
    """Mend times that lie further ahead of the ledger's clock than they can."""
    for _ in range(STEPS):
        if not ledger.scripts.run("pull_in", [], PORTION, ledger.retention_ms, own_ms()):
            return


def _monotonic() -> float:
    """Goes on while this host is suspended, if the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)

"""What happens to worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

from chaos.faults.fault import Fault, Loses, killed
from chaos.fleet import Fleet

PAST_THE_LEASE = 66.0
"""Seconds; a claim's lease is 60."""
REST = 4.0
"""A worker takes some seconds to start, and the others must do the work meanwhile."""


def faults(fleet: Fleet, chance: Random) -> dict[str, Fault]:
    """By kind."""
    return {
        "killed": Fault(partial(_killed, fleet, chance), (0.0, 3.0), Loses.ONE, rest=REST),
        "stopped and continued": Fault(partial(_stopped, fleet, chance), (0.5, 5.0), rest=REST),
    }


def long_stops(fleet: Fleet, chance: Random, most: int) -> dict[str, Fault]:
    """What takes a minute: another worker has the claims by then."""
    lasts = (PAST_THE_LEASE, PAST_THE_LEASE)
    return {"stopped past its lease": Fault(partial(_stopped, fleet, chance), lasts, most=most)}


@contextmanager
def _killed(fleet: Fleet, chance: Random) -> Iterator[None]:
    with fleet.borrowed(chance) as worker, killed(worker):
        yield


@contextmanager
def _stopped(fleet: Fleet, chance: Random) -> Iterator[None]:
    with fleet.borrowed(chance) as worker:
        worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            worker.send_signal(signal.SIGCONT)

"""What listings of devices and of users share: slot, request, and what a failure means."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from device_status.command import Lane
from device_status.settings import Settings
from device_status_worker.aws_http import CALL_TIMEOUT
from device_status_worker.cognito import NotSent, Page
from device_status_worker.failures import Action, Failure
from device_status_worker.gate import Gate, NoSlot, Slot
from device_status_worker.retries import Tried, backoff, is_last_attempt, soon

logger = logging.getLogger(__name__)

LEASE: Final = 60.0
"""Seconds that a worker has a user, or a page of users; a user's is renewed with each page of devices."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It can't succeed as it stands."""

    code: str
    message: str = field(repr=False)
    request_id: str


DIED_WITH_IT: Final = GivenUp("RetriesExhausted", "its workers died with it", "")
"""Of a listing whose lease ran out again and again."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It is worth another try."""

    due_in: float
    """Seconds."""
    code: str
    is_attempt: bool
    """Whether the one that was made counts."""


def request_page(
    request: Callable[[Slot], Page | Failure | NotSent],
    gate: Gate,
    lane: Lane,
    ends_at: float,
    tried: Tried,
    settings: Settings,
) -> Page | GivenUp | TryAgain:
    """Wait for a slot and send one request, if its attempts are not used up; the gate learns how it went.

    Parameters:
        ends_at: when the lease is over, on the monotonic clock.
    """
    if tried.attempts >= settings.max_attempts:
        return DIED_WITH_IT
    while time.monotonic() + CALL_TIMEOUT < ends_at:
        slot = gate.wait_for_slot(lane)
        if isinstance(slot, NoSlot):
            return TryAgain(slot.due_in, slot.why, is_attempt=False)
        match request(slot):
            case Page() as page:
                gate.answered(slot)
                return page
            case Failure() as failure:
                return _after(failure, gate, slot, tried, settings)
            case NotSent():
                gate.give_back(slot)
    return TryAgain(0, "SlotsMissed", is_attempt=False)


def _after(failure: Failure, gate: Gate, slot: Slot, tried: Tried, settings: Settings) -> GivenUp | TryAgain:
    match failure.action:
        case Action.DEAD_LETTER:
            gate.answered(slot)
            return GivenUp(failure.code, failure.message, failure.request_id)
        case Action.SLOW_DOWN:
            gate.throttled()
        case Action.PAUSE:
            logger.error("listings are paused: %s", failure.code)
            gate.pause(failure.code)
        case Action.BACK_OFF:
            logger.error("listings do not reach AWS: %s", failure.code)
            gate.fault()
        case Action.RETRY:
            gate.fault()
            if is_last_attempt(tried, settings):
                why = f"gave up; the last error was {failure.code}: {failure.message}"
                return GivenUp("RetriesExhausted", why, failure.request_id)
            return TryAgain(backoff(tried), failure.code, is_attempt=True)
    return TryAgain(soon(), failure.code, is_attempt=False)

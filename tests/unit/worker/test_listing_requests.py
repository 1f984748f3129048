"""Promises of the requests that listings send."""

from __future__ import annotations

import time
from dataclasses import dataclass

from device_status import Lane, Settings
from device_status.ledger import Ledger, gate_key
from device_status_worker.aws_http import CALL_TIMEOUT
from device_status_worker.cognito import NotSent
from device_status_worker.gate import Gates, Slot
from device_status_worker.listing_requests import TryAgain, request_page
from support.clock import PassingTime


@dataclass(frozen=True)
class NeverTried:
    """What has no attempt behind it."""

    attempts: int = 0
    age: float = 0


def test_a_host_that_is_late_for_every_slot_gives_them_and_its_work_back(
    settings: Settings, ledger: Ledger, clock: PassingTime
) -> None:
    slots: list[Slot] = []

    def late(slot: Slot) -> NotSent:
        slots.append(slot)
        return NotSent()

    target = settings.target("eu-west-1_X")
    gate = Gates(ledger.redis, clock).read(target)
    ends_at = time.monotonic() + CALL_TIMEOUT + 0.2
    answer = request_page(late, gate, Lane.BULK, ends_at, NeverTried(), settings)

    assert answer == TryAgain(0, "SlotsMissed", is_attempt=False)
    assert slots
    assert not ledger.redis.exists(gate_key(target, "UserResourceRead") + ":slots")

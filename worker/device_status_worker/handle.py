"""One command's way: claim → slot → call → settle. The heart of the worker.

Whatever happens on the way, the ledger knows: a process killed at any line leaves a claim whose lease
runs out, and the sweeper publishes the command again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from device_status.command import DeviceStatusCommand, Lane
from device_status.ledger import Ledger
from device_status.outcomes import Claimed, Done, Handled, Lost, Waiting
from device_status.settings import Settings
from device_status_worker.cognito import Cognito, NotSent, Succeeded
from device_status_worker.failures import Action, Failure
from device_status_worker.gate import Gate, Gates, NoSlot, Slot

RETRY_BASE: Final = 1.0
"""Seconds: the first retry comes after 0 to 1, the next after 0 to 2, …"""
RETRY_CAP: Final = 60.0
"""Seconds."""
THROTTLED_DELAY: Final = 2.0
"""Seconds, at most, until a throttled command asks the gate again; the gate itself sets the pace."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process works with."""

    settings: Settings
    ledger: Ledger
    gates: Gates
    cognito: Cognito


def handle(command: DeviceStatusCommand, lane: Lane, worker: Worker) -> Handled:
    """Bring one command as far as it comes now; says where it stands."""
    claim = worker.ledger.claim(command, lane)
    if not isinstance(claim, Claimed):
        return claim
    if claim.attempts >= worker.settings.max_attempts:
        return worker.ledger.dead_letter(
            claim, "RetriesExhausted", "every attempt ended with a lost worker", attempt=False
        )

    worker.cognito.warm_up(command)
    gate = worker.gates.update(command)
    while claim.is_live:
        slot = gate.wait_for_slot(lane)
        if isinstance(slot, NoSlot):
            return worker.ledger.retry(claim, slot.due_in, slot.why, "given back before a call")

        match worker.cognito.update_device_status(claim, slot):
            case Succeeded(request_id):
                gate.answered(slot)
                return worker.ledger.succeed(claim, request_id)
            case Failure() as failure:
                return _failed(claim, failure, slot, gate, worker)
            case NotSent():
                pass  # The slot was missed: take another, as long as the claim lasts.
    return Lost()


def _failed(claim: Claimed, failure: Failure, slot: Slot, gate: Gate, worker: Worker) -> Handled:
    error = (failure.code, failure.message, failure.request_id)
    match failure.action:
        case Action.DEAD_LETTER:
            gate.answered(slot)
            return worker.ledger.dead_letter(claim, *error)
        case Action.SLOW_DOWN:
            gate.throttled()
            return worker.ledger.retry(claim, random.uniform(0, THROTTLED_DELAY), *error)  # noqa: S311
        case Action.PAUSE:
            gate.pause(failure.code)
            return worker.ledger.retry(claim, random.uniform(0, THROTTLED_DELAY), *error)  # noqa: S311
        case Action.RETRY:
            gate.fault()
            return _retry(claim, failure, worker)


def _retry(claim: Claimed, failure: Failure, worker: Worker) -> Waiting | Done | Lost:
    settings = worker.settings
    if claim.attempts + 1 >= settings.max_attempts or claim.age >= settings.max_age.total_seconds():
        message = f"gave up; the last error was {failure.code}: {failure.message}"
        return worker.ledger.dead_letter(claim, "RetriesExhausted", message, failure.request_id)
    # Full jitter: commands that failed together must not come back together.
    delay = random.uniform(0, min(RETRY_CAP, RETRY_BASE * 2**claim.attempts))  # noqa: S311
    return worker.ledger.retry(claim, delay, failure.code, failure.message, failure.request_id, attempt=True)

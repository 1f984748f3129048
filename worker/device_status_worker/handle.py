"""One command's way: claim → slot → call → settle. The heart of the worker.

A process killed at any line leaves a claim whose lease runs out; then the sweeper publishes the command
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from device_status.command import DeviceStatusCommand, Lane
from device_status.ledger import Ledger
from device_status.outcomes import Claimed, Done, Handled, Lost, Waiting
from device_status.publisher import Publisher
from device_status.settings import Settings
from device_status_worker.aws_http import CALL_TIMEOUT
from device_status_worker.cognito import Cognito, NotSent, Succeeded
from device_status_worker.failures import Action, Failure
from device_status_worker.gate import Gate, Gates, NoSlot, Slot
from device_status_worker.retries import backoff, is_last_attempt, soon


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process works with."""

    settings: Settings
    ledger: Ledger
    gates: Gates
    cognito: Cognito
    publisher: Publisher


def handle(command: DeviceStatusCommand, lane: Lane, worker: Worker) -> Handled:
    """Bring one command as far as it comes now; says where it stands."""
    claim = worker.ledger.claim(command, lane)
    if not isinstance(claim, Claimed):
        return claim
    if claim.attempts >= worker.settings.max_attempts:
        return worker.ledger.dead_letter(claim, "RetriesExhausted", "its workers died with it", attempt=False)

    target = worker.settings.target(command.user_pool_id)
    worker.cognito.warm_up(command, target)
    gate = worker.gates.update(target)
    while claim.lasts(CALL_TIMEOUT):
        slot = gate.wait_for_slot(lane)
        if isinstance(slot, NoSlot):
            return worker.ledger.retry(claim, slot.due_in, slot.why, "given back before a call")
        answer = worker.cognito.update_device_status(claim, target, slot)
        if not isinstance(answer, NotSent):
            return _settle(claim, answer, slot, gate, worker)
        gate.give_back(slot)
    return worker.ledger.retry(claim, 0, "SlotsMissed", "given back: too late for every slot it got")


def _settle(claim: Claimed, answer: Succeeded | Failure, slot: Slot, gate: Gate, worker: Worker) -> Handled:
    ledger = worker.ledger
    match answer:
        case Succeeded(request_id):
            gate.answered(slot)
            settled = ledger.succeed(claim, request_id)
        case Failure():
            settled = _settle_failure(claim, answer, slot, gate, worker)
    if isinstance(settled, Lost) and (repair := ledger.repair(claim)):
        # The claim ended while the request was under way, and a newer command was applied meanwhile.
        worker.publisher.publish([repair.command], repair.lane)
    return settled


def _settle_failure(
    claim: Claimed, failure: Failure, slot: Slot, gate: Gate, worker: Worker
) -> Done | Waiting | Lost:
    ledger, code, said = worker.ledger, failure.code, (failure.message, failure.request_id)
    match failure.action:
        case Action.DEAD_LETTER:
            gate.answered(slot)
            return ledger.dead_letter(claim, code, *said)
        case Action.RETRY if is_last_attempt(claim, worker.settings):
            gate.fault()
            why = f"gave up; the last error was {code}: {failure.message}"
            return ledger.dead_letter(
                claim, "RetriesExhausted", why, failure.request_id, in_doubt=failure.in_doubt
            )
        case Action.RETRY:
            gate.fault()
            return ledger.retry(claim, backoff(claim), code, *said, attempt=True, in_doubt=failure.in_doubt)
        case Action.BACK_OFF:
            gate.fault()
        case Action.SLOW_DOWN:
            gate.throttled()
        case Action.PAUSE:
            gate.pause(code)
    return ledger.retry(claim, soon(), code, *said, in_doubt=failure.in_doubt)

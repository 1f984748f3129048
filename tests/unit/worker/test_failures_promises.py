"""What becomes of a command, and what the gate learns, for each error that AWS may answer with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from device_status import DeviceStatusCommand, Lane, State
from device_status.ledger import Ledger, gate_key
from device_status.targets import Target
from device_status_worker.handle import Worker, handle
from device_status_worker.local import Fault, LocalCognito
from support.error_codes import EXPECTED


@dataclass(frozen=True)
class Fate:
    """Where a command stands after one request, and what the gate has learned from it."""

    state: State
    attempts: int
    gate: str


DEAD: Final = Fate(State.DEAD_LETTERED, 1, "open")
THROTTLED: Final = Fate(State.RETRY_WAIT, 0, "slowed down")
RETRIED: Final = Fate(State.RETRY_WAIT, 1, "counts a fault")
PAUSED: Final = Fate(State.RETRY_WAIT, 0, "paused")

FATES: Final = {
    "the command is a dead letter": DEAD,
    "everybody slows down": THROTTLED,
    "the service failed": RETRIED,
    "the target is paused": PAUSED,
}
BY_CODE: Final = {code: FATES[what] for what, codes in EXPECTED.items() for code in codes}
BY_STATUS: Final = {
    400: DEAD,
    401: PAUSED,
    403: PAUSED,
    404: DEAD,
    413: DEAD,
    429: THROTTLED,
    500: RETRIED,
    502: RETRIED,
    503: RETRIED,
    504: RETRIED,
    509: THROTTLED,
}
"""Of a code that nobody knows yet."""


def fate_of(command: DeviceStatusCommand, worker: Worker) -> Fate:
    """Send the command's request, and see."""
    handle(command, Lane.ROUTINE, worker)
    record = worker.ledger.lookup(command.command_id)
    assert record is not None
    target = worker.settings.target(command.user_pool_id)
    return Fate(record.state, record.attempts, what_the_gate_learned(worker.ledger, target))


def what_the_gate_learned(ledger: Ledger, target: Target) -> str:
    gate = ledger.redis.hgetall(gate_key(target, "UserResourceUpdate"))
    marks = {"paused_until": "paused", "rate": "slowed down"}
    learned = [mark for field, mark in marks.items() if field in gate]
    if not learned and int(gate.get("faults", 0)):
        learned = ["counts a fault"]
    return " and ".join(learned) or "open"


class TestEveryAnswerOfAws:
    @pytest.mark.parametrize("code", BY_CODE)
    def test_a_command_ends_as_its_error_code_demands(
        self, code: str, worker: Worker, cognito: LocalCognito, new_command: Callable[..., Any]
    ) -> None:
        # By its status alone, each would end in another way.
        status = 500 if BY_CODE[code] is DEAD else 404
        cognito.faults.add(Fault.error(code, http_status=status))
        command = new_command()
        assert fate_of(command, worker) == BY_CODE[code]
        assert len(cognito.requests) == 1
        record = worker.ledger.lookup(command.command_id)
        assert record is not None
        assert record.error_code == code

    @pytest.mark.parametrize("http_status", BY_STATUS)
    def test_an_unknown_error_code_goes_by_its_http_status(
        self, http_status: int, worker: Worker, cognito: LocalCognito, new_command: Callable[..., Any]
    ) -> None:
        cognito.faults.add(Fault.error("NeverSeenException", http_status=http_status))
        assert fate_of(new_command(), worker) == BY_STATUS[http_status]
        assert len(cognito.requests) == 1

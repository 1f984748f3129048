"""Promises about requests that may still take effect: named scenarios with more than two commands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from device_status import DeviceStatusCommand, Lane, State
from device_status.ledger import Ledger
from device_status.outcomes import Claimed, Done, Lost, Waiting
from support import make_command
from support.clock import let_time_pass

LEASE, IN_DOUBT = 60, 30
"""Seconds."""
ClaimOne = Callable[[DeviceStatusCommand], Claimed]


@pytest.fixture
def claim(ledger: Ledger) -> ClaimOne:
    def claim_one(command: DeviceStatusCommand) -> Claimed:
        result = ledger.claim(command, Lane.ROUTINE)
        assert isinstance(result, Claimed), result
        return result

    return claim_one


def commands(count: int) -> list[DeviceStatusCommand]:
    """For one device, the oldest first, each with another status than the one before."""
    start = datetime.now(UTC) - timedelta(minutes=10)
    return [
        make_command(
            issued_at=start + timedelta(minutes=number), status=("remembered", "not_remembered")[number % 2]
        )
        for number in range(count)
    ]


def get_no_answer(ledger: Ledger, claim: Claimed) -> None:
    """Its request left, and whether it took effect, or still will, nobody knows."""
    ledger.retry(claim, 0, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)


class TestWhatIsInDoubt:
    def test_two_requests_in_doubt_leave_the_older_in_doubt_when_the_newer_is_applied(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = commands(2)
        get_no_answer(ledger, claim(older))
        get_no_answer(ledger, claim(newer))
        again = ledger.succeed(claim(newer), "r")
        assert isinstance(again, Waiting), "the older one's request may yet undo it"
        assert 0 < again.due_in <= IN_DOUBT
        let_time_pass(ledger.redis, IN_DOUBT + 1)
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)

    def test_doubt_ends_after_half_a_minute(self, ledger: Ledger, claim: ClaimOne) -> None:
        applied, older, newer = commands(3)
        # What was applied keeps the device on record for longer than the doubt.
        assert ledger.succeed(claim(applied), "r") == Done(State.SUCCEEDED)
        get_no_answer(ledger, claim(older))
        let_time_pass(ledger.redis, IN_DOUBT + 1)
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)

    def test_doubt_counts_from_the_last_request(self, ledger: Ledger, claim: ClaimOne) -> None:
        oldest, older, newest = commands(3)
        get_no_answer(ledger, claim(oldest))
        let_time_pass(ledger.redis, 20)
        get_no_answer(ledger, claim(older))
        let_time_pass(ledger.redis, 20)
        assert isinstance(ledger.succeed(claim(newest), "r"), Waiting)

    def test_a_dead_letter_whose_request_got_no_answer_casts_doubt_too(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = commands(2)
        ledger.dead_letter(claim(older), "RetriesExhausted", "no answer", in_doubt=True)
        assert isinstance(ledger.succeed(claim(newer), "r"), Waiting)

    def test_a_request_under_a_lost_claim_makes_the_newest_be_applied_once_more_and_once(
        self, ledger: Ledger, claim: ClaimOne
    ) -> None:
        older, newer = commands(2)
        late = claim(older)
        let_time_pass(ledger.redis, LEASE + 1)
        assert ledger.succeed(claim(newer), "r") == Done(State.SUCCEEDED)
        assert ledger.succeed(late, "late") == Lost()
        repair = ledger.repair(late)
        assert repair is not None
        assert ledger.repair(late) is None, "said twice"
        again = DeviceStatusCommand.model_validate_json(repair.command)
        assert (again.device_key, again.status, again.issued_at) == (
            newer.device_key,
            newer.status,
            newer.issued_at,
        )
        # The late request may come even after this one: it is applied until nothing can.
        assert isinstance(ledger.succeed(claim(again), "r"), Waiting)
        let_time_pass(ledger.redis, IN_DOUBT + 1)
        assert ledger.succeed(claim(again), "r") == Done(State.SUCCEEDED)

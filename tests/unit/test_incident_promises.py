"""Promises about incidents that need no Cognito: exact counts, and what steering does to commands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest

from device_status import DeviceStatusCommand, IncidentError, Incidents, Lane, Progress, Settings, State
from device_status.incident import Phase, incident_key
from device_status.ledger import Ledger, command_key, own_ms, parse_stored
from device_status.outcomes import Claimed, Done, Held, Waiting
from device_status_worker.forgetting import forget
from support import POOL, device, make_command
from support.clock import let_time_pass

IN_DOUBT, RETENTION = 30, 7 * 24 * 3600
"""Seconds."""
COUNTS: Final = ("devices", "open", "succeeded", "superseded", "expired", "dead_lettered", "cancelled")
ClaimOne = Callable[[DeviceStatusCommand], Claimed]


@pytest.fixture
def incidents(settings: Settings) -> Incidents:
    return Incidents(settings)


@pytest.fixture
def claim(ledger: Ledger) -> ClaimOne:
    def claim_one(command: DeviceStatusCommand) -> Claimed:
        result = ledger.claim(command, Lane.BULK)
        assert isinstance(result, Claimed), result
        return result

    return claim_one


def open_with(incidents: Incidents, *numbers: int) -> list[DeviceStatusCommand]:
    """`INC-1` for these devices of one user; all its commands, in the order they were entered."""
    incidents.open("INC-1", user_pool_id=POOL, devices=[("ada", device(number)) for number in numbers])
    redis = incidents.ledger.redis
    texts = [
        redis.hget(command_key(key), "command")
        for key in redis.lrange(incident_key("INC-1", "devices"), 0, -1)
    ]
    commands = [parse_stored(text) for text in texts]
    return [command for command in commands if command is not None]


def counts(progress: Progress) -> dict[str, int]:
    """Those that are not 0."""
    return {name: count for name in COUNTS if (count := getattr(progress, name))}


def succeed(ledger: Ledger, command: DeviceStatusCommand, claim: ClaimOne) -> None:
    assert ledger.succeed(claim(command), "r") == Done(State.SUCCEEDED)


def die(ledger: Ledger, command: DeviceStatusCommand, claim: ClaimOne) -> None:
    ledger.dead_letter(claim(command), "UserNotFoundException", "why")


def be_superseded(ledger: Ledger, command: DeviceStatusCommand, claim: ClaimOne) -> None:
    newer = make_command(
        username=command.username,
        device_key=command.device_key,
        status="remembered",
        issued_at=command.issued_at + timedelta(seconds=30),
    )
    succeed(ledger, newer, claim)
    assert ledger.claim(command, Lane.BULK) == Done(State.SUPERSEDED)


class TestCounts:
    @pytest.mark.parametrize(
        ("outcome", "bring_about"),
        [("succeeded", succeed), ("dead_lettered", die), ("superseded", be_superseded)],
    )
    def test_an_outcome_is_counted_once_and_closes_its_command(
        self,
        outcome: str,
        bring_about: Callable[[Ledger, DeviceStatusCommand, ClaimOne], None],
        incidents: Incidents,
        ledger: Ledger,
        claim: ClaimOne,
    ) -> None:
        first, second = open_with(incidents, 1, 2)
        assert counts(incidents.progress("INC-1")) == {"devices": 2, "open": 2}
        bring_about(ledger, first, claim)
        progress = incidents.progress("INC-1")
        assert counts(progress) == {"devices": 2, "open": 1, outcome: 1}
        assert progress.phase is Phase.RUNNING
        bring_about(ledger, second, claim)
        progress = incidents.progress("INC-1")
        assert counts(progress) == {"devices": 2, outcome: 2}
        assert progress.phase is Phase.ENDED

    def test_what_was_cancelled_is_counted_once_and_closed(self, incidents: Incidents) -> None:
        open_with(incidents, 1, 2, 3)
        progress = incidents.cancel("INC-1")
        assert counts(progress) == {"devices": 3, "cancelled": 3}
        assert progress.phase is Phase.CANCELLED

    def test_a_retry_keeps_its_command_open(
        self, incidents: Incidents, ledger: Ledger, claim: ClaimOne
    ) -> None:
        (command,) = open_with(incidents, 1)
        ledger.retry(claim(command), 5, "InternalErrorException", "why", attempt=True)
        progress = incidents.progress("INC-1")
        assert counts(progress) == {"devices": 1, "open": 1}
        assert progress.phase is Phase.RUNNING

    def test_a_user_who_waits_to_be_listed_keeps_it_open(self, incidents: Incidents, ledger: Ledger) -> None:
        progress = incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        assert (progress.users_open, progress.phase) == (2, Phase.RUNNING)
        _, _, _, username, *_ = ledger.scripts.run("listing_claim", [], "worker", 60_000, own_ms())
        said = ["no_devices", 0, 1, 0, "", "", "request", 60_000]
        ledger.scripts.run("listing_settle", [], "users", "INC-1", username, "worker", *said)
        progress = incidents.progress("INC-1")
        assert (progress.users_open, progress.users_no_devices, progress.phase) == (1, 1, Phase.RUNNING)

    def test_the_same_devices_given_again_count_once(self, incidents: Incidents) -> None:
        open_with(incidents, 1, 2)
        open_with(incidents, 2, 1)
        progress = incidents.progress("INC-1")
        assert (progress.users, counts(progress)) == (1, {"devices": 2, "open": 2})


class TestReopened:
    def test_with_more_devices_it_is_kept_for_as_long_as_they_take(
        self, incidents: Incidents, ledger: Ledger, claim: ClaimOne
    ) -> None:
        (first,) = open_with(incidents, 1)
        succeed(ledger, first, claim)
        assert incidents.progress("INC-1").phase is Phase.ENDED
        open_with(incidents, 1, 2)
        let_time_pass(ledger.redis, RETENTION + 3600)
        forget(ledger)
        progress = incidents.progress("INC-1")
        assert progress.phase is Phase.RUNNING
        assert (progress.users, counts(progress)) == (1, {"devices": 2, "open": 1, "succeeded": 1})
        assert ledger.redis.llen(incident_key("INC-1", "devices")) == 2


class TestCancelled:
    def test_what_a_worker_has_in_hand_ends_as_its_request_does(
        self, incidents: Incidents, ledger: Ledger, claim: ClaimOne
    ) -> None:
        under_way, _ = open_with(incidents, 1, 2)
        claimed = claim(under_way)
        assert counts(incidents.cancel("INC-1")) == {"devices": 2, "open": 1, "cancelled": 1}
        assert incidents.progress("INC-1").phase is Phase.CANCELLING
        assert ledger.succeed(claimed, "r") == Done(State.SUCCEEDED)
        progress = incidents.progress("INC-1")
        assert counts(progress) == {"devices": 2, "succeeded": 1, "cancelled": 1}
        assert progress.phase is Phase.CANCELLED

    def test_what_was_applied_and_may_be_undone_is_applied_once_more(
        self, incidents: Incidents, ledger: Ledger, claim: ClaimOne
    ) -> None:
        (command,) = open_with(incidents, 1)
        older = make_command(
            username="ada",
            device_key=command.device_key,
            status="remembered",
            issued_at=command.issued_at - timedelta(minutes=1),
        )
        ledger.retry(claim(older), 60, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        assert isinstance(ledger.succeed(claim(command), "r"), Waiting)
        assert counts(incidents.cancel("INC-1")) == {"devices": 1, "open": 1}
        let_time_pass(ledger.redis, IN_DOUBT + 1)
        succeed(ledger, command, claim)
        assert counts(incidents.progress("INC-1")) == {"devices": 1, "succeeded": 1}

    def test_no_worker_claims_what_the_cancelling_has_not_come_to_yet(
        self, incidents: Incidents, ledger: Ledger
    ) -> None:
        (command,) = open_with(incidents, 1)
        ledger.scripts.run("incident_state", [], "INC-1", "cancelled")
        assert ledger.claim(command, Lane.BULK) == Done(State.CANCELLED)
        assert counts(incidents.progress("INC-1")) == {"devices": 1, "cancelled": 1}

    def test_a_user_who_waits_is_not_listed_any_longer(self, incidents: Incidents, ledger: Ledger) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        progress = incidents.cancel("INC-1")
        assert (progress.users_open, progress.users_cancelled) == (0, 2)
        assert progress.phase is Phase.CANCELLED
        assert ledger.scripts.run("listing_claim", [], "worker", 60_000, own_ms()) == []

    def test_it_is_not_opened_again_for_a_whole_pool_either(self, incidents: Incidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        incidents.cancel("INC-1")
        with pytest.raises(IncidentError, match="was cancelled: open a new incident"):
            incidents.open("INC-1", user_pool_id=POOL, all_users=True)
        assert not incidents.progress("INC-1").is_listing_pool

    def test_nobody_is_added_to_it(self, incidents: Incidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        incidents.cancel("INC-1")
        with pytest.raises(IncidentError, match="was cancelled meanwhile"):
            incidents.add_users("INC-1", POOL, ["grace"])
        assert incidents.progress("INC-1").users == 1


class TestPaused:
    def test_what_was_applied_and_may_be_undone_is_applied_once_more(
        self, incidents: Incidents, ledger: Ledger, claim: ClaimOne
    ) -> None:
        (command,) = open_with(incidents, 1)
        older = make_command(
            username="ada",
            device_key=command.device_key,
            status="remembered",
            issued_at=command.issued_at - timedelta(minutes=1),
        )
        ledger.retry(claim(older), 60, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        assert isinstance(ledger.succeed(claim(command), "r"), Waiting)
        incidents.pause("INC-1")
        let_time_pass(ledger.redis, IN_DOUBT + 1)
        succeed(ledger, command, claim)

    def test_what_was_held_is_published_when_it_is_resumed(
        self, incidents: Incidents, ledger: Ledger
    ) -> None:
        (command,) = open_with(incidents, 1)
        incidents.pause("INC-1")
        assert ledger.claim(command, Lane.BULK) == Held()
        let_time_pass(ledger.redis, 3600)
        assert ledger.scripts.run("sweep", [], Lane.BULK, 500, 0, own_ms()) == []
        incidents.resume("INC-1")
        assert len(ledger.scripts.run("sweep", [], Lane.BULK, 500, 0, own_ms())) == 1
        assert isinstance(ledger.claim(command, Lane.BULK), Claimed)

"""Promises about a ledger whose clock steps, back or forward by minutes, hours or days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from device_status import DeadLetters, DeviceStatusCommand, Incidents, Lane, Settings, State
from device_status.incident import incident_key
from device_status.ledger import Ledger, device_key, own_ms
from device_status.outcomes import Busy, Claimed, DeviceBusy, Done, Waiting
from device_status_worker.forgetting import forget
from device_status_worker.ledger_clock import pull_in
from support import POOL, device, make_command
from support.clock import let_time_pass
from support.stepping import SteppingValkey

HOUR, DAY = 3600, 86_400
RETENTION = 7 * DAY
LEASE, IN_DOUBT = 60, 30
AHEAD = 300
"""Seconds that a command may be issued ahead."""
STEPS = [-HOUR, -600, -120, 600, HOUR]
each_step = pytest.mark.parametrize("step", STEPS)
ClaimOne = Callable[[DeviceStatusCommand], Claimed]
SetClock = Callable[[float], None]


@pytest.fixture
def redis_url(stepping_valkey: SteppingValkey) -> str:
    return stepping_valkey.url


@pytest.fixture
def set_clock(stepping_valkey: SteppingValkey) -> SetClock:
    """Puts the server's clock so many seconds ahead of all others."""
    return stepping_valkey.set_clock


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


def issued(seconds: float, **fields: object) -> DeviceStatusCommand:
    """A command issued so many seconds from now."""
    return make_command(issued_at=datetime.now(UTC) + timedelta(seconds=seconds), **fields)


def sweep(ledger: Ledger) -> list[str]:
    """A round: what is due is published again."""
    pull_in(ledger)
    texts = ledger.scripts.run("sweep", [], Lane.BULK, 500, 0, own_ms())
    return [DeviceStatusCommand.model_validate_json(text).command_id for text in texts]


def test_no_time_limit_is_longer_than_a_lease() -> None:
    lua = Path(__file__).parents[2] / "producers" / "device_status" / "lua" / "prelude_incident.lua"
    assert f"local LONGEST = {1000 * LEASE} " in lua.read_text()


class TestWhatEndsACommand:
    @each_step
    def test_a_step_alone_ends_none(self, step: float, claim: ClaimOne, set_clock: SetClock) -> None:
        expires_at = datetime.now(UTC) + timedelta(minutes=1)
        set_clock(step)
        assert claim(issued(0, expires_at=expires_at))

    def test_a_sender_whose_clock_is_wrong_gets_its_dead_letter_all_the_same(
        self, ledger: Ledger, set_clock: SetClock
    ) -> None:
        for step in (0, -HOUR, HOUR / 2):
            set_clock(step)
            command = issued(HOUR, command_id=f"command-{step}")
            assert ledger.claim(command, Lane.BULK) == Done(State.DEAD_LETTERED, "IssuedInFuture")

    def test_what_has_expired_by_both_clocks_is_expired(self, ledger: Ledger, set_clock: SetClock) -> None:
        expires_at = datetime.now(UTC) - timedelta(seconds=1)
        set_clock(600)
        assert ledger.claim(make_command(expires_at=expires_at), Lane.BULK) == Done(State.EXPIRED)

    def test_a_command_too_old_for_the_server_alone_waits_for_its_clock(
        self, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        command = make_command()
        set_clock(RETENTION + HOUR)
        assert ledger.claim(command, Lane.BULK) == Waiting("ClocksApart", 60)
        set_clock(0)
        assert sweep(ledger) == [command.command_id]
        assert claim(command)

    def test_a_command_too_old_by_both_clocks_is_a_dead_letter(
        self, ledger: Ledger, set_clock: SetClock
    ) -> None:
        set_clock(HOUR)
        command = issued(-RETENTION - 5)
        assert ledger.claim(command, Lane.BULK) == Done(State.DEAD_LETTERED, "TooOld")

    @pytest.mark.parametrize(("before", "after"), [(0, 2 * DAY), (-2 * DAY, 0), (2 * DAY, 0)])
    def test_a_step_does_not_use_up_the_time_for_attempts(
        self, before: float, after: float, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        set_clock(before)
        command = make_command()
        ledger.retry(claim(command), 0, "HTTP503", "why", attempt=True)
        set_clock(after)
        again = claim(command)
        assert again.attempts == 1
        assert 0 <= again.age < HOUR

    @pytest.mark.parametrize("step", [-HOUR, HOUR])
    def test_nor_that_of_a_user_to_be_listed(
        self, step: float, ledger: Ledger, incidents: Incidents, set_clock: SetClock
    ) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        lease = ledger.scripts.run("listing_claim", [], "worker-1", 1000 * LEASE, own_ms())
        assert lease[0] == "devices"
        arguments = ["ada", "worker-1", "retry", 0, 1, 0, "HTTP503", "", "", 1000 * LEASE]
        ledger.scripts.run("listing_settle", [], "users", "INC-1", *arguments)
        set_clock(step)
        pull_in(ledger)
        _, _, _, username, attempts, age, *_ = ledger.scripts.run(
            "listing_claim", [], "worker-2", 1000 * LEASE, own_ms()
        )
        assert (username, int(attempts)) == ("ada", 1)
        assert 0 <= int(age) < 60_000

    @pytest.mark.parametrize("step", [-HOUR, HOUR])
    def test_a_message_without_a_time_is_issued_within_what_both_clocks_take(
        self, step: float, ledger: Ledger, set_clock: SetClock
    ) -> None:
        set_clock(step)
        received = ledger.first_received("message")
        earlier = datetime.now(UTC) + timedelta(seconds=min(0, step))
        assert received - earlier == pytest.approx(timedelta(seconds=AHEAD), abs=timedelta(seconds=5))
        set_clock(0)
        assert ledger.first_received("message") == received
        assert isinstance(ledger.claim(make_command(issued_at=received), Lane.BULK), Claimed)

    @pytest.mark.parametrize("step", [-HOUR, HOUR])
    def test_and_so_are_the_commands_of_an_incident(
        self, step: float, ledger: Ledger, incidents: Incidents, set_clock: SetClock
    ) -> None:
        set_clock(step)
        opened_at = incidents.open("INC-1", user_pool_id=POOL, users=["ada"]).opened_at
        set_clock(0)
        assert isinstance(ledger.claim(make_command(issued_at=opened_at), Lane.BULK), Claimed)

    def test_clocks_that_differ_by_little_leave_the_servers_time(
        self, ledger: Ledger, set_clock: SetClock
    ) -> None:
        set_clock(-60)
        received = ledger.first_received("message")
        assert datetime.now(UTC) - received == pytest.approx(timedelta(seconds=60), abs=timedelta(seconds=5))


class TestLeases:
    @each_step
    def test_an_owner_keeps_its_command_and_its_device(
        self, step: float, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        older, newer = issued(-20, command_id="older"), issued(-10, command_id="newer")
        held = claim(older)
        set_clock(step)
        assert sweep(ledger) == []
        assert ledger.claim(older, Lane.BULK) == Busy()
        assert ledger.claim(newer, Lane.BULK) == DeviceBusy()
        assert ledger.succeed(held, "request") == Done(State.SUCCEEDED)
        assert isinstance(ledger.claim(newer, Lane.BULK), Claimed)

    @pytest.mark.parametrize("before", [-600, -HOUR])
    def test_and_so_does_one_that_claimed_before_the_clock_was_put_right(
        self, before: float, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        set_clock(before)
        held = claim(issued(0))
        set_clock(0)
        assert sweep(ledger) == []
        assert ledger.claim(held.command, Lane.BULK) == Busy()

    @each_step
    def test_a_dead_workers_lease_ends_after_a_minute(
        self, step: float, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        command = issued(0)
        claim(command)
        let_time_pass(ledger.redis, 40)
        set_clock(step)
        assert sweep(ledger) == []
        let_time_pass(ledger.redis, LEASE - 40)
        assert sweep(ledger) == [command.command_id]
        assert claim(command).attempts == 1

    def test_one_that_is_over_stays_over_when_the_time_comes_that_it_was_set_to(
        self, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        command = issued(0)
        claim(command)
        set_clock(-120)
        sweep(ledger)
        # It was set to 60 s after the claim, which by the server's clock is 180 s after it now.
        let_time_pass(ledger.redis, 150)
        assert claim(command)

    def test_even_if_all_clocks_step_back_together(self, ledger: Ledger, claim: ClaimOne) -> None:
        older, newer = issued(-20, command_id="older"), issued(-10, command_id="newer")
        claim(older)
        let_time_pass(ledger.redis, -HOUR)
        assert sweep(ledger) == []
        assert ledger.claim(newer, Lane.BULK) == DeviceBusy()
        let_time_pass(ledger.redis, LEASE - 5)
        assert ledger.claim(older, Lane.BULK) == Busy()
        let_time_pass(ledger.redis, 5)
        assert claim(newer)

    def test_a_cancelled_incident_leaves_what_is_under_way_to_its_owner(
        self, ledger: Ledger, incidents: Incidents, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        incidents.open("INC-1", user_pool_id=POOL, devices=[("ada", device(1))])
        (text,) = [
            ledger.redis.hget(key, "command") for key in ledger.redis.scan_iter("device-status:command:*")
        ]
        held = claim(DeviceStatusCommand.model_validate_json(text))
        set_clock(600)
        incidents.cancel("INC-1")
        assert ledger.succeed(held, "request") == Done(State.SUCCEEDED)


class TestDoubt:
    @pytest.mark.parametrize("step", STEPS)
    def test_a_request_in_doubt_is_outlived_by_the_clock_of_the_workers(
        self, step: float, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        older, newer = issued(-20, command_id="older"), issued(-10, command_id="newer")
        ledger.retry(claim(older), 0, "ReadTimeoutError", "no answer", attempt=True, in_doubt=True)
        set_clock(step)
        again = ledger.succeed(claim(newer), "request")
        assert isinstance(again, Waiting)
        assert IN_DOUBT - 5 < again.due_in <= IN_DOUBT
        let_time_pass(ledger.redis, IN_DOUBT + 1)
        assert ledger.succeed(claim(newer), "request") == Done(State.SUCCEEDED)

    def test_a_device_that_was_applied_once_keeps_its_fence_for_a_step_of_a_day(
        self, ledger: Ledger, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        newer = issued(-RETENTION + HOUR, command_id="newer")
        ledger.succeed(claim(newer), "request")
        # A week later, an older command is just not too old yet.
        let_time_pass(ledger.redis, RETENTION)
        set_clock(DAY)
        assert ledger.redis.exists(device_key(newer))
        older = issued(-RETENTION + HOUR / 2, command_id="older").model_copy(
            update={"issued_at": newer.issued_at - timedelta(minutes=1)}
        )
        assert ledger.claim(older, Lane.BULK) in (Waiting("ClocksApart", 60), Done(State.SUPERSEDED))
        set_clock(0)
        assert ledger.claim(older, Lane.BULK) == Done(State.SUPERSEDED)


class TestWhatIsKept:
    def test_evidence_is_forgotten_by_both_clocks_and_not_by_one(
        self, ledger: Ledger, incidents: Incidents, set_clock: SetClock
    ) -> None:
        incidents.open("INC-1", user_pool_id=POOL)
        set_clock(RETENTION + DAY)
        forget(ledger)
        assert incidents.progress("INC-1").is_over
        set_clock(0)
        let_time_pass(ledger.redis, RETENTION + 1)
        forget(ledger)
        assert not ledger.redis.exists(incident_key("INC-1"))

    def test_so_are_dead_letters(
        self, ledger: Ledger, settings: Settings, claim: ClaimOne, set_clock: SetClock
    ) -> None:
        ledger.dead_letter(claim(issued(0)), "UserNotFoundException", "why")
        set_clock(RETENTION + DAY)
        letters = DeadLetters(settings)
        assert letters.purge(older_than=timedelta(days=7)) == 0
        set_clock(-DAY)
        assert letters.purge() == 1

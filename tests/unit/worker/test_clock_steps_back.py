"""Promises about what stands in the future after the ledger's clock stepped back: each row of the table in
docs/how-it-works.md. The sweeper's next round makes it due again within a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from device_status import DeadLetters, Incidents, Lane, Settings
from device_status.incident import incident_key
from device_status.ledger import PREFIX, Ledger, own_ms
from device_status.outcomes import Claimed
from device_status.publisher import Publisher
from device_status_worker.listing_requests import LEASE
from device_status_worker.sweeper import GRACE, IN_HAND, Sweeper
from support import POOL, device, make_command
from support.broker import take_commands, take_messages
from support.clock import let_time_pass, server_ms

STEP = 3600
LANE = Lane.BULK
Claim = Callable[[int], Claimed]
ClaimListing = Callable[[str], list[str]]


@pytest.fixture
def sweeper(ledger: Ledger, settings: Settings) -> Sweeper:
    return Sweeper(ledger, Publisher(settings.broker_url), Event())


@pytest.fixture
def step_back(ledger: Ledger, sweeper: Sweeper) -> Callable[[], None]:
    """The clock steps back by an hour, and the sweeper has a round."""

    def step_back() -> None:
        let_time_pass(ledger.redis, -STEP)
        sweeper.round()

    return step_back


@pytest.fixture
def claim(ledger: Ledger) -> Claim:
    def claim(number: int) -> Claimed:
        command = make_command(command_id=f"command-{number}", device_key=device(number))
        claimed = ledger.claim(command, LANE)
        assert isinstance(claimed, Claimed)
        return claimed

    return claim


@pytest.fixture
def claim_listing(ledger: Ledger) -> ClaimListing:
    """What listing a worker gets, as its kind and what it is about; nothing if there is none."""

    def claim_listing(owner: str) -> list[str]:
        found = ledger.scripts.run("listing_claim", [], owner, int(1000 * LEASE), own_ms())
        match found:
            case ["devices", mode, _, username, *_]:
                return [mode, username]
            case ["users", incident_id, *_]:
                return ["pool", incident_id]
        return []

    return claim_listing


StepBack = Callable[[], None]


class TestCommands:
    def test_a_retry_is_due_at_once(
        self, ledger: Ledger, settings: Settings, claim: Claim, step_back: StepBack
    ) -> None:
        ledger.retry(claim(1), 50, "HTTP503", "why")
        step_back()
        assert [each["command_id"] for each in take_commands(settings.broker_url, LANE)] == ["command-1"]

    def test_a_backlog_of_retries_is_mended_in_portions_and_each_is_due(
        self, ledger: Ledger, settings: Settings, claim: Claim, step_back: StepBack, sweeper: Sweeper
    ) -> None:
        for number in range(700):
            ledger.retry(claim(number), 50, "HTTP503", "why")
        step_back()
        sweeper.round()
        assert len(take_commands(settings.broker_url, LANE)) == 700

    def test_a_lost_message_is_looked_for(
        self, ledger: Ledger, settings: Settings, step_back: StepBack, sweeper: Sweeper
    ) -> None:
        ledger.enter([make_command()], LANE)
        step_back()
        let_time_pass(ledger.redis, GRACE + 1)
        sweeper.round()
        (mark,) = take_messages(settings.broker_url, LANE)
        assert "mark" in mark.decode()[1]

    def test_a_mark_from_before_does_not_make_lost_what_is_queued_behind_it(
        self, ledger: Ledger, settings: Settings, step_back: StepBack, sweeper: Sweeper
    ) -> None:
        ledger.enter([make_command(command_id="before", device_key=device(1))], LANE)
        let_time_pass(ledger.redis, GRACE + 1)
        sweeper.round()
        (mark,) = take_messages(settings.broker_url, LANE)
        step_back()
        ledger.enter([make_command(command_id="behind", device_key=device(2))], LANE)
        moved = ledger.redis.hget(f"{PREFIX}watermark:{LANE}", "mark")
        sweeper.note_mark(LANE, int(moved or mark.decode()[1]["mark"]))
        let_time_pass(ledger.redis, IN_HAND + 1)
        assert sweeper.round() == 0

    def test_a_dead_sweepers_lead_passes_on(
        self, ledger: Ledger, settings: Settings, sweeper: Sweeper, claim: Claim
    ) -> None:
        other = Sweeper(ledger, Publisher(settings.broker_url), Event())
        sweeper.round()
        ledger.retry(claim(1), 0, "HTTP503", "why")
        let_time_pass(ledger.redis, -STEP)
        assert other.round() == 1


class TestIncidents:
    def test_users_of_an_incident_are_listed(
        self, settings: Settings, claim_listing: ClaimListing, step_back: StepBack
    ) -> None:
        Incidents(settings).open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        assert claim_listing("dies") == ["users", "ada"]
        step_back()
        assert claim_listing("lives") == ["users", "grace"]

    def test_a_user_in_a_dead_workers_hands_is_listed_after_its_lease(
        self, ledger: Ledger, settings: Settings, claim_listing: ClaimListing, step_back: StepBack
    ) -> None:
        Incidents(settings).open("INC-1", user_pool_id=POOL, users=["ada"])
        claim_listing("dies")
        step_back()
        assert claim_listing("lives") == [], "its owner may be at work"
        let_time_pass(ledger.redis, LEASE)
        assert claim_listing("lives") == ["users", "ada"]

    def test_a_pool_is_listed_on(
        self, ledger: Ledger, settings: Settings, claim_listing: ClaimListing, step_back: StepBack
    ) -> None:
        Incidents(settings).open("INC-1", user_pool_id=POOL, all_users=True)
        assert claim_listing("dies") == ["pool", "INC-1"]
        step_back()
        assert claim_listing("lives") == []
        let_time_pass(ledger.redis, LEASE)
        assert claim_listing("lives") == ["pool", "INC-1"]

    def test_an_incident_rests_no_longer_than_it_would_have(
        self, ledger: Ledger, settings: Settings, claim_listing: ClaimListing, step_back: StepBack
    ) -> None:
        Incidents(settings).open("INC-1", user_pool_id=POOL, users=["ada"])
        claim_listing("owner")
        ledger.scripts.run(
            "listing_settle",
            [],
            "users",
            "INC-1",
            "ada",
            "owner",
            "retry",
            0,
            0,
            10_000,
            "GatePaused:X",
            "",
            "",
            0,
        )
        step_back()
        assert claim_listing("lives") == ["users", "ada"]

    def test_a_verification_goes_on(
        self, ledger: Ledger, settings: Settings, claim_listing: ClaimListing, step_back: StepBack
    ) -> None:
        incidents = Incidents(settings)
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        claim_listing("owner")
        ledger.scripts.run(
            "listing_settle", [], "users", "INC-1", "ada", "owner", "no_devices", 0, 0, 0, "", "", "", 0
        )
        incidents.verify("INC-1")
        step_back()
        assert claim_listing("lives") == ["verify", "ada"]

    def test_a_notice_is_sent(self, ledger: Ledger, settings: Settings, step_back: StepBack) -> None:
        Incidents(settings).open("INC-1", user_pool_id=POOL)
        step_back()
        assert ledger.scripts.run("webhook", [], int(1000 * LEASE)) == ["INC-1", "1", 1]
        step_back()
        assert ledger.scripts.run("webhook", [], int(1000 * LEASE)) == [], "its owner may be at work"
        let_time_pass(ledger.redis, LEASE)
        assert ledger.scripts.run("webhook", [], int(1000 * LEASE)) == ["INC-1", "1", 2]


class TestRetention:
    def test_dead_letters_go_after_the_retention(
        self, ledger: Ledger, settings: Settings, claim: Claim, step_back: StepBack, sweeper: Sweeper
    ) -> None:
        ledger.dead_letter(claim(1), "UserNotFoundException", "why")
        step_back()
        let_time_pass(ledger.redis, settings.retention.total_seconds() + 1)
        sweeper.round()
        assert DeadLetters(settings).count_by_error() == {}

    def test_an_incident_goes_after_the_retention(
        self, ledger: Ledger, settings: Settings, step_back: StepBack, sweeper: Sweeper
    ) -> None:
        Incidents(settings).open("INC-1", user_pool_id=POOL)
        step_back()
        let_time_pass(ledger.redis, settings.retention.total_seconds() + 1)
        sweeper.round()
        assert not ledger.redis.exists(incident_key("INC-1"))


def test_nothing_is_moved_if_nothing_is_amiss(
    ledger: Ledger, settings: Settings, claim: Claim, claim_listing: ClaimListing, sweeper: Sweeper
) -> None:
    ledger.enter([make_command(command_id="queued", device_key=device(9))], LANE)
    ledger.retry(claim(1), 59, "HTTP503", "why")
    claim(2)
    ledger.dead_letter(claim(3), "UserNotFoundException", "why")
    incidents = Incidents(settings)
    incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
    incidents.open("INC-2", user_pool_id=POOL)
    claim_listing("owner")
    before = _scores(ledger)
    assert len(before) > 10
    sweeper.round()
    assert _scores(ledger) == before
    assert server_ms(ledger.redis)


def _scores(ledger: Ledger) -> dict[tuple[str, str], float]:
    return {
        (key, member): score
        for key in ledger.redis.scan_iter(f"{PREFIX}*", _type="zset")
        for member, score in ledger.redis.zrange(key, 0, -1, withscores=True)
    }

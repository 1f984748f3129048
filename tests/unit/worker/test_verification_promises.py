"""Promises of a verification that others of its tests only show in passing."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest

from device_status import Incidents, Settings, Verification, load_settings
from device_status.incident_records import records
from device_status.ledger import own_ms
from device_status_worker.listing_devices import Listing, list_devices
from device_status_worker.local import Fault, LocalCognito
from support.clock import let_time_pass
from support.incidents import Crew, make_users, open_incident

NOW = datetime.now(UTC)
SOUND = Verification(
    started_at=NOW,
    ended_at=NOW,
    users=2,
    users_open=0,
    users_failed=0,
    as_ordered=3,
    not_as_ordered=0,
    new=1,
    new_not_as_ordered=0,
    gone=1,
    knew_all=True,
)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, update_quota=5000, read_quota=5000)


def found(incidents: Incidents) -> Verification:
    verification = incidents.progress("INC-1").verification
    assert verification is not None
    return verification


class TestTheVerdict:
    def test_all_listed_and_nothing_else_than_was_ordered(self) -> None:
        assert SOUND.is_as_ordered

    @pytest.mark.parametrize("field", ["not_as_ordered", "new_not_as_ordered", "users_failed"])
    def test_one_that_is_not_is_enough(self, field: str) -> None:
        assert not replace(SOUND, **{field: 1}).is_as_ordered  # type: ignore[arg-type]

    def test_nobody_listed_shows_nothing(self) -> None:
        assert not replace(SOUND, users=0, as_ordered=0, new=0, gone=0).is_as_ordered

    def test_before_its_end_there_is_none(self) -> None:
        assert not replace(SOUND, ended_at=None, users_open=1).is_as_ordered


class TestWhatItCounts:
    def test_a_page_of_an_earlier_verification_says_nothing_of_this_one(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        crew.finish()
        incidents.verify("INC-1")
        _, *fields = crew.worker.ledger.scripts.run("listing_claim", [], "late", 60_000, own_ms())
        incidents.verify("INC-1")
        crew.finish()
        assert (found(incidents).as_ordered, found(incidents).ended_at is None) == (2, False)
        cognito.add_device(pool, "ada")
        list_devices(Listing.read("late", fields), time.monotonic() + 60, crew.worker)
        assert (found(incidents).as_ordered, found(incidents).new) == (2, 0)

    def test_new_devices_of_a_page_that_is_listed_twice_count_once(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 0})
        open_incident(incidents, pool, "ada")
        crew.finish()
        for _ in range(61):
            cognito.add_device(pool, "ada")
        fails_once = Fault.error("InternalErrorException", http_status=500)
        cognito.faults.add(fails_once, operation="AdminListDevices", nth=2)
        incidents.verify("INC-1")
        # One listing and no more: the delay before the second try may happen to be none.
        crew.list(1)
        assert found(incidents).new == 60
        let_time_pass(crew.worker.ledger.redis, 10)
        crew.finish()
        assert (found(incidents).new, found(incidents).new_not_as_ordered) == (61, 61)

    def test_a_second_one_finds_the_same_again_and_says_it_once(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada", "nobody")
        crew.finish()
        cognito.add_device(pool, "ada")
        for _ in range(2):
            incidents.verify("INC-1")
            crew.finish()
            assert (found(incidents).as_ordered, found(incidents).new) == (1, 1)
            said = [each["finding"] for each in records(incidents, "INC-1") if each["record"] == "finding"]
            assert sorted(said) == ["new", "not_verified"]

    def test_it_ends_only_when_every_user_is_listed(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "grace": 1})
        open_incident(incidents, pool, "ada", "grace")
        crew.finish()
        incidents.verify("INC-1")
        crew.list(most=1)
        assert (found(incidents).as_ordered, found(incidents).ended_at) == (1, None)
        crew.list(most=1)
        assert (found(incidents).as_ordered, found(incidents).ended_at is None) == (2, False)

    def test_what_a_verification_saw_before_a_listing_failed_is_neither_gone_nor_unseen(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 61, "grace": 2})
        open_incident(incidents, pool, "ada", "grace")
        crew.finish()
        key = next(key for username, key, _ in cognito.devices(pool) if username == "grace")
        boto3.client("cognito-idp", region_name="us-east-1").admin_forget_device(
            UserPoolId=pool, Username="grace", DeviceKey=key
        )
        cognito.faults.add(
            Fault.error("InvalidParameterException"), operation="AdminListDevices", username="ada", nth=2
        )
        incidents.verify("INC-1")
        crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        # 60 of ada's and one of grace's were listed; ada's last is unknown, and only grace's other is gone.
        assert (found.as_ordered, found.gone, found.users_failed) == (61, 1, 1)

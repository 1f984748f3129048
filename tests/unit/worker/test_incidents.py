"""Promises about incidents: every device of every user, once, counted exactly, steered at any time."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_status import (
    DeadLetters,
    IncidentError,
    Incidents,
    InvalidCommandError,
    Lane,
    Producer,
    Settings,
    State,
    Verification,
    load_settings,
)
from device_status.dead_letters import NotRedrivableError
from device_status.incident import Phase, incident_key
from device_status.incident_records import records
from device_status.ledger import own_ms
from device_status_worker.handle import Worker
from device_status_worker.listing_requests import LEASE
from device_status_worker.local import Fault, LocalCognito
from support import make_command
from support.clock import let_time_pass
from support.incidents import Crew, counters, make_users, open_incident, recount, statuses


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(
        broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000, list_users_quota=5000
    )


def verify(incidents: Incidents, crew: Crew) -> Verification:
    """What a verification of INC-1 finds."""
    incidents.verify("INC-1")
    crew.finish()
    found = incidents.progress("INC-1").verification
    assert found is not None
    return found


def operations(cognito: LocalCognito, name: str) -> int:
    return sum(request.operation == name for request in cognito.requests)


class TestEveryDevice:
    def test_every_device_of_every_user_is_changed_once(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3, "grace": 0, "linus": 130})
        open_incident(incidents, pool, "ada", "grace", "linus")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert statuses(cognito, pool) == {"not_remembered": 133}
        assert (progress.phase, progress.all_succeeded) == (Phase.ENDED, True)
        assert (progress.devices, progress.succeeded, progress.users_no_devices) == (133, 133, 1)
        assert operations(cognito, "AdminUpdateDeviceStatus") == 133
        # 60 at most a page: 1 + 1 + 3.
        assert operations(cognito, "AdminListDevices") == 5

    def test_opened_again_it_repeats_nothing(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        crew.finish()
        asked = len(cognito.requests)
        progress = open_incident(incidents, pool, "ada")
        crew.finish()
        assert progress.phase is Phase.ENDED
        assert len(cognito.requests) == asked

    def test_opened_again_with_more_users_it_goes_on(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2, "grace": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        assert open_incident(incidents, pool, "ada", "grace").phase is Phase.RUNNING
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.phase, progress.users, progress.devices) == (Phase.ENDED, 2, 3)
        assert operations(cognito, "AdminUpdateDeviceStatus") == 3

    def test_what_was_left_out_the_first_time_is_taken_when_it_is_opened_again(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada", requested_by="ada@example.com")
        again = open_incident(
            incidents, pool, "ada", reason="leak", requested_by="eve@example.com", urgent=True
        )
        assert (again.reason, again.requested_by, again.lane) == ("leak", "ada@example.com", Lane.URGENT)
        open_incident(incidents, pool, "ada")
        assert incidents.progress("INC-1").lane is Lane.URGENT
        crew.finish(Lane.URGENT)
        assert incidents.progress("INC-1").all_succeeded

    def test_without_users_nothing_succeeded(self, incidents: Incidents, cognito: LocalCognito) -> None:
        progress = open_incident(incidents, cognito.create_pool())
        assert (progress.is_over, progress.all_succeeded) == (True, False)

    def test_a_newer_command_of_another_service_wins(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, producer: Producer
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        ((_, key, _),) = cognito.devices(pool)
        open_incident(incidents, pool, "ada")
        later = datetime.now(UTC) + timedelta(seconds=30)
        fields = {"user_pool_id": pool, "username": "ada", "device_key": key, "status": "remembered"}
        producer.enqueue(make_command(**fields, issued_at=later), lane=Lane.BULK)
        crew.apply()
        crew.finish()
        assert incidents.progress("INC-1").superseded == 1
        assert statuses(cognito, pool) == {"remembered": 1}

    def test_given_devices_are_not_listed(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3})
        keys = [key for _, key, _ in cognito.devices(pool)]
        incidents.open("INC-1", user_pool_id=pool, devices=[("ada", key) for key in keys[:2]])
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.all_succeeded, progress.devices, progress.users) == (True, 2, 1)
        assert operations(cognito, "AdminListDevices") == 0
        assert statuses(cognito, pool) == {"not_remembered": 2, "remembered": 1}

    @pytest.mark.parametrize("devices_first", [True, False])
    def test_a_user_who_is_named_beside_his_devices_is_listed_and_counted_once(
        self, devices_first: bool, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3})
        key = next(key for _, key, _ in cognito.devices(pool))
        for is_device in (devices_first, not devices_first):
            what: dict[str, Any] = {"devices": [("ada", key)]} if is_device else {"users": ["ada"]}
            incidents.open("INC-1", user_pool_id=pool, **what)
            assert counters(incidents.progress("INC-1")) == recount(crew.worker.ledger, "INC-1")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert counters(progress) == recount(crew.worker.ledger, "INC-1")
        assert (progress.users, progress.devices, progress.all_succeeded) == (1, 3, True)
        assert statuses(cognito, pool) == {"not_remembered": 3}

    def test_all_users_of_a_pool_are_read_page_by_page(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {f"user-{number}": 1 for number in range(70)})
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        assert not incidents.progress("INC-1").is_input_complete
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.all_succeeded, progress.users, progress.succeeded) == (True, 70, 70)
        assert operations(cognito, "ListUsers") == 2

    def test_a_pool_that_is_not_there_ends_it_with_the_reason(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        incidents.open("INC-1", user_pool_id="us-east-1_Nowhere", all_users=True)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.phase, progress.all_succeeded) == (Phase.ENDED, False)
        assert progress.input_error == "ResourceNotFoundException"

    def test_the_urgent_one_is_listed_first(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "grace": 1})
        incidents.open("INC-1", user_pool_id=pool, users=["ada"])
        incidents.open("INC-2", user_pool_id=pool, users=["grace"], urgent=True)
        crew.list(most=1)
        assert incidents.progress("INC-2").users_open == 0
        assert incidents.progress("INC-1").users_open == 1


class TestFailures:
    def test_an_unknown_user_is_a_dead_letter_that_can_be_listed_again(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada", "nobody")
        crew.finish()
        assert incidents.progress("INC-1").users_dead_lettered == 1
        letters = DeadLetters(settings)
        (letter,) = letters.list()
        assert (letter.username, letter.incident_id) == ("nobody", "INC-1")
        make_users(cognito, {"nobody": 2}, pool)
        letters.redrive(letter.id)
        assert incidents.progress("INC-1").phase is Phase.RUNNING
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.all_succeeded, progress.devices, progress.users_dead_lettered) == (True, 3, 0)
        assert letters.count_by_error() == {}

    def test_a_dead_lettered_device_can_be_redriven(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        rule = cognito.faults.add(
            Fault.error("UserNotFoundException"), operation="AdminUpdateDeviceStatus", times=1
        )
        open_incident(incidents, pool, "ada")
        crew.finish()
        assert (rule.hits, incidents.progress("INC-1").dead_lettered) == (1, 1)
        (letter,) = DeadLetters(settings).list()
        DeadLetters(settings).redrive(letter.id)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.succeeded, progress.dead_lettered) == (1, 1, 0)
        assert progress.all_succeeded

    def test_a_listing_that_fails_is_tried_again_up_to_the_limit(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        cognito.faults.add(
            Fault.error("InternalErrorException", http_status=500), operation="AdminListDevices"
        )
        open_incident(incidents, pool, "ada")
        for _ in range(settings.max_attempts):
            assert crew.list() == 1
            let_time_pass(crew.worker.ledger.redis, 120)
        (letter,) = DeadLetters(settings).list()
        assert (letter.error_code, letter.attempts) == ("RetriesExhausted", settings.max_attempts)
        assert operations(cognito, "AdminListDevices") == settings.max_attempts

    def test_a_throttle_is_no_attempt(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        cognito.faults.add(Fault.error("TooManyRequestsException"), operation="AdminListDevices", times=6)
        open_incident(incidents, pool, "ada")
        for _ in range(6):
            crew.list()
            let_time_pass(crew.worker.ledger.redis, 10)
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded

    def test_a_missing_permission_pauses_and_loses_nothing(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        cognito.faults.add(Fault.error("AccessDeniedException"), operation="AdminListDevices", times=1)
        open_incident(incidents, pool, "ada")
        crew.list(most=1)
        assert incidents.progress("INC-1").trouble == "AccessDeniedException"
        let_time_pass(crew.worker.ledger.redis, 30)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.all_succeeded, progress.trouble) == (True, None)

    def test_a_paused_region_does_not_hold_up_the_incidents_of_others(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        there = make_users(cognito, {f"user-{number}": 1 for number in range(20)})
        here = make_users(cognito, {"ada": 1}, cognito.create_pool("eu-west-1"))
        open_incident(incidents, there, *(f"user-{number}" for number in range(20)))
        incidents.open("INC-2", user_pool_id=here, users=["ada"])
        crew.worker.gates.read(incidents.settings.target(there)).pause("AccessDeniedException")
        assert crew.list(2) == 2
        assert incidents.progress("INC-2").users_expanded == 1
        crew.finish()
        let_time_pass(crew.worker.ledger.redis, 60)
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded

    @pytest.mark.parametrize("all_users", [False, True])
    def test_a_listing_that_kills_its_workers_is_given_up(
        self, all_users: bool, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        users = [] if all_users else ["ada"]
        incidents.open("INC-1", user_pool_id=pool, users=users, all_users=all_users)
        for _ in range(crew.worker.settings.max_attempts):
            assert crew.worker.ledger.scripts.run("listing_claim", [], "dies", 60_000, own_ms())
            let_time_pass(crew.worker.ledger.redis, 61)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.is_over, progress.all_succeeded) == (True, False)
        assert operations(cognito, "AdminListDevices") + operations(cognito, "ListUsers") == 0

    def test_a_lister_that_died_is_replaced_when_its_lease_is_over(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        script = crew.worker.ledger.scripts.run
        assert script("listing_claim", [], "dead", int(LEASE * 1000), own_ms())[3] == "ada"
        assert crew.list() == 0
        let_time_pass(crew.worker.ledger.redis, LEASE + 1)
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded

    def test_a_lister_that_comes_back_too_late_changes_nothing(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        script = crew.worker.ledger.scripts.run
        script("listing_claim", [], "late", int(LEASE * 1000), own_ms())
        let_time_pass(crew.worker.ledger.redis, LEASE + 1)
        crew.finish()
        before = counters(incidents.progress("INC-1"))
        arguments = ["users", "INC-1", "ada", "late", "dead_lettered", 0, 1, 0, "X", "", "", 1000]
        assert script("listing_settle", [], *arguments) == "lost"
        assert counters(incidents.progress("INC-1")) == before


class TestSteering:
    def test_paused_it_begins_nothing_more(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 5, "grace": 5})
        open_incident(incidents, pool, "ada", "grace")
        crew.list(most=1)
        crew.apply(most=2)
        crew.sweep()
        assert incidents.pause("INC-1").phase is Phase.PAUSED
        asked = len(cognito.requests)
        let_time_pass(crew.worker.ledger.redis, 600)
        crew.finish()
        assert len(cognito.requests) == asked
        progress = incidents.progress("INC-1")
        assert (progress.succeeded, progress.open, progress.users_open) == (2, 3, 1)

    def test_resumed_it_goes_on_with_everything(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 5, "grace": 5})
        open_incident(incidents, pool, "ada", "grace")
        crew.list(most=1)
        incidents.pause("INC-1")
        crew.finish()
        assert incidents.resume("INC-1").phase is Phase.RUNNING
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded
        assert statuses(cognito, pool) == {"not_remembered": 10}

    def test_cancelled_all_that_is_not_under_way_ends_without_a_call(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 5, "grace": 5})
        open_incident(incidents, pool, "ada", "grace")
        crew.list(most=1)
        asked = len(cognito.requests)
        incidents.cancel("INC-1")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.phase, progress.cancelled, progress.users_cancelled) == (Phase.CANCELLED, 5, 1)
        assert len(cognito.requests) == asked
        assert crew.worker.ledger.open_count() == dict.fromkeys(Lane, 0)

    def test_a_paused_one_can_be_cancelled(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 5})
        open_incident(incidents, pool, "ada")
        crew.list()
        incidents.pause("INC-1")
        crew.apply()
        assert incidents.cancel("INC-1").phase is Phase.CANCELLED
        assert incidents.progress("INC-1").cancelled == 5

    @pytest.mark.parametrize("change", ["pause", "resume", "cancel"])
    def test_what_is_over_stays_as_it_is(
        self, change: str, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        with pytest.raises(IncidentError, match="INC-1 is over"):
            getattr(incidents, change)("INC-1")

    def test_another_pool_or_status_is_another_incident(
        self, incidents: Incidents, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        with pytest.raises(IncidentError, match="status not_remembered"):
            open_incident(incidents, pool, "ada", status="remembered")
        with pytest.raises(IncidentError, match="user_pool_id"):
            open_incident(incidents, "us-east-1_Other", "ada")

    def test_a_cancelled_one_is_not_opened_again(self, incidents: Incidents, cognito: LocalCognito) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        incidents.cancel("INC-1")
        with pytest.raises(IncidentError, match="was cancelled"):
            open_incident(incidents, pool, "ada")

    @pytest.mark.parametrize("incident_id", ["", "a b", "-x", "x" * 65, "plan:1"])
    def test_an_id_that_breaks_the_rule_is_refused(self, incident_id: str, incidents: Incidents) -> None:
        with pytest.raises(InvalidCommandError, match="incident id"):
            incidents.open(incident_id, user_pool_id="us-east-1_X", users=["ada"])

    def test_a_username_that_breaks_the_contract_is_told_without_it(self, incidents: Incidents) -> None:
        with pytest.raises(InvalidCommandError, match="username: ") as raised:
            incidents.open("INC-1", user_pool_id="us-east-1_X", users=["secret name"])
        assert "secret" not in str(raised.value)

    def test_a_user_of_a_cancelled_incident_is_not_redriven(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "nobody", "ada")
        crew.list()
        incidents.cancel("INC-1")
        (letter,) = DeadLetters(settings).list()
        with pytest.raises(NotRedrivableError, match="paused, cancelled or over"):
            DeadLetters(settings).redrive(letter.id)


class TestPlans:
    def test_devices_can_be_counted_without_changing_any(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 61, "grace": 0})
        plan_id = incidents.count(user_pool_id=pool, users=["ada", "grace", "nobody"])
        crew.finish()
        plan = incidents.progress(plan_id)
        assert (plan.is_over, plan.devices, plan.users_no_devices) == (True, 61, 1)
        assert statuses(cognito, pool) == {"remembered": 61}
        assert operations(cognito, "AdminUpdateDeviceStatus") == 0
        assert list(incidents.list()) == []
        assert DeadLetters(incidents.settings).count_by_error() == {}

    def test_a_plan_whose_asker_has_gone_is_not_kept(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "grace": 1})
        redis = incidents.ledger.redis
        plan_id = incidents.count(user_pool_id=pool, users=["ada", "grace"])

        def kept() -> list[str]:
            return [key for key in redis.keys("*plan:*") if redis.ttl(key) < 0]

        assert (kept(), redis.exists(incident_key(plan_id, "users"))) == ([], 1)
        crew.list(1)
        assert (kept(), redis.exists(incident_key(plan_id, "outcomes"))) == ([], 1)
        assert redis.zrange("device-status:incidents:active", 0, -1) == [plan_id]
        crew.worker.ledger.scripts.run("listing_claim", [], "slow", 60_000, own_ms())
        let_time_pass(redis, 86_400)
        settled = crew.worker.ledger.scripts.run(
            "listing_settle", [], "users", plan_id, "grace", "slow", "expanded", 1, 1, 0, "", "", "", 60_000
        )
        assert (settled, redis.keys("*plan:*")) == ("lost", [])


class TestVerification:
    def test_what_changed_since_is_found(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3, "grace": 1})
        keys = [key for username, key, _ in cognito.devices(pool) if username == "ada"]
        open_incident(incidents, pool, "ada", "grace", "nobody")
        crew.finish()
        cognito.add_device(pool, "grace")
        boto = boto3.client("cognito-idp", region_name="us-east-1")
        boto.admin_update_device_status(
            UserPoolId=pool, Username="ada", DeviceKey=keys[0], DeviceRememberedStatus="remembered"
        )
        boto.admin_forget_device(UserPoolId=pool, Username="ada", DeviceKey=keys[1])
        found = verify(incidents, crew)
        assert (found.as_ordered, found.not_as_ordered, found.new, found.gone) == (2, 1, 1, 1)
        assert (found.new_not_as_ordered, found.users_failed, found.is_as_ordered) == (1, 1, False)

    def test_all_as_ordered(self, incidents: Incidents, crew: Crew, cognito: LocalCognito) -> None:
        pool = make_users(cognito, {"ada": 130})
        open_incident(incidents, pool, "ada")
        crew.finish()
        found = verify(incidents, crew)
        assert (found.as_ordered, found.gone, found.is_as_ordered) == (130, 0, True)

    def test_a_user_who_can_not_be_listed_is_not_verified(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        cognito.faults.add(Fault.error("InvalidParameterException"), operation="AdminListDevices")
        found = verify(incidents, crew)
        assert (found.users_failed, found.gone, found.is_as_ordered) == (1, 0, False)
        devices = [each for each in records(incidents, "INC-1") if each["record"] == "device"]
        assert [each["verified_as"] for each in devices] == ["not_verified"]

    def test_a_listing_that_fails_on_a_later_page_says_nothing_of_the_rest(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 61})
        open_incident(incidents, pool, "ada")
        crew.finish()
        cognito.faults.add(Fault.error("InvalidParameterException"), operation="AdminListDevices", nth=2)
        found = verify(incidents, crew)
        assert (found.as_ordered, found.gone, found.users_failed) == (60, 0, 1)

    def test_given_devices_of_a_user_who_can_not_be_listed_are_not_gone(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3})
        devices = [(username, key) for username, key, _ in cognito.devices(pool)]
        for _ in range(2):
            incidents.open("INC-1", user_pool_id=pool, devices=devices)
        crew.finish()
        cognito.faults.add(Fault.error("InvalidParameterException"), operation="AdminListDevices")
        found = verify(incidents, crew)
        assert (found.users_failed, found.gone) == (1, 0)

    def test_all_users_after_given_devices_are_verified_whole(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        (device,) = [(username, key) for username, key, _ in cognito.devices(pool)]
        incidents.open("INC-1", user_pool_id=pool, devices=[device])
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.finish()
        cognito.add_device(pool, "ada")
        found = verify(incidents, crew)
        assert (found.new_not_as_ordered, found.is_as_ordered) == (1, False)

    def test_a_user_whom_the_pool_never_knew_is_not_verified(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada", "nobody")
        crew.finish()
        found = verify(incidents, crew)
        assert (found.as_ordered, found.gone, found.users_failed, found.is_as_ordered) == (1, 0, 1, False)

    def test_a_user_of_a_pool_that_does_not_exist_is_not_verified(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        make_users(cognito, {"ada": 1})
        open_incident(incidents, "us-east-1_NoSuchPool", "ada")
        crew.finish()
        found = verify(incidents, crew)
        assert (found.users_failed, found.is_as_ordered) == (1, False)
        (finding,) = [each for each in records(incidents, "INC-1") if each["record"] == "finding"]
        assert (finding["username"], finding["finding"]) == ("ada", "not_verified")
        assert finding["error_code"] == "ResourceNotFoundException"

    def test_a_user_who_is_gone_since_is_as_ordered(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        crew.finish()
        boto3.client("cognito-idp", region_name="us-east-1").admin_delete_user(
            UserPoolId=pool, Username="ada"
        )
        found = verify(incidents, crew)
        assert (found.gone, found.users_failed, found.is_as_ordered) == (2, 0, True)

    def test_it_says_nothing_any_more_once_the_incident_goes_on(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2, "grace": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        incidents.verify("INC-1")
        crew.finish()
        open_incident(incidents, pool, "ada", "grace")
        assert incidents.progress("INC-1").verification is None
        crew.finish()
        devices = [each for each in records(incidents, "INC-1") if each["record"] == "device"]
        assert len(devices) == 3
        assert not any("verified_as" in each for each in devices)
        found = verify(incidents, crew)
        assert (found.as_ordered, found.gone, found.is_as_ordered) == (3, 0, True)

    def test_it_can_be_repeated(self, incidents: Incidents, crew: Crew, cognito: LocalCognito) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        crew.finish()
        for _ in range(2):
            incidents.verify("INC-1")
            crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert found.as_ordered == 2

    def test_a_page_that_is_listed_twice_counts_once(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 61})
        open_incident(incidents, pool, "ada")
        crew.finish()
        cognito.add_device(pool, "ada")
        incidents.verify("INC-1")
        # The second page fails once, and the user is listed from the start again.
        listings = operations(cognito, "AdminListDevices")
        cognito.faults.add(
            Fault.error("InternalErrorException", http_status=500), operation="AdminListDevices", nth=2
        )
        crew.finish()
        let_time_pass(crew.worker.ledger.redis, 10)
        crew.finish()
        assert operations(cognito, "AdminListDevices") == listings + 4
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert (found.as_ordered, found.new, found.gone) == (61, 1, 0)

    def test_before_the_end_there_is_nothing_to_verify(
        self, incidents: Incidents, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        with pytest.raises(IncidentError, match="not over yet"):
            incidents.verify("INC-1")

    def test_devices_that_were_not_given_do_not_count(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3})
        key = next(key for _, key, _ in cognito.devices(pool))
        incidents.open("INC-1", user_pool_id=pool, devices=[("ada", key)])
        crew.finish()
        found = verify(incidents, crew)
        assert (found.as_ordered, found.new, found.is_as_ordered) == (1, 0, True)


class TestCounters:
    @given(data=st.data())
    @hypothesis_settings(
        max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    )
    def test_they_never_drift(
        self, data: st.DataObject, worker: Worker, settings: Settings, cognito: LocalCognito
    ) -> None:
        """Whatever happens in whatever order, they are what counting the ledger gives."""
        worker.ledger.redis.flushall()
        cognito.faults.clear()
        for fault in (Fault.error("ResourceNotFoundException"), Fault.error("TooManyRequestsException")):
            cognito.faults.add(fault, operation="AdminUpdateDeviceStatus", probability=0.2)
        cognito.faults.add(Fault.reset(), operation="AdminUpdateDeviceStatus", probability=0.2)
        cognito.faults.add(
            Fault.error("TooManyRequestsException"), operation="AdminListDevices", probability=0.1
        )
        pool = make_users(cognito, {"ada": 3, "grace": 2, "linus": 0})
        incidents, crew = Incidents(settings), Crew(worker, settings.broker_url)
        open_incident(incidents, pool, "ada", "grace", "linus", "nobody")
        letters = DeadLetters(settings)

        def step(name: str) -> None:
            if name == "time":
                let_time_pass(worker.ledger.redis, 61)
            elif name == "redrive":
                for letter in list(letters.list(limit=1)):
                    with suppress(NotRedrivableError):
                        letters.redrive(letter.id)
            elif name in ("pause", "resume", "cancel"):
                with suppress(IncidentError):
                    getattr(incidents, name)("INC-1")
            elif name == "open":
                with suppress(IncidentError):
                    open_incident(incidents, pool, "ada", "grace", "linus", "nobody")
            elif name == "retention":
                let_time_pass(worker.ledger.redis, settings.retention.total_seconds() + 1)
                worker.ledger.scripts.run("forget", [], own_ms())
            elif name == "forgotten":
                worker.ledger.scripts.run("forgotten", [], 1)
            elif name == "list":
                crew.list(most=2)
            else:
                crew.sweep()
                crew.apply(most=2)

        names = st.sampled_from(
            [
                *("list", "apply", "apply", "apply", "time", "redrive", "pause", "resume", "open", "cancel"),
                *("retention", "forgotten"),
            ]
        )
        for name in data.draw(st.lists(names, min_size=5, max_size=40)):
            step(name)
            try:
                progress = incidents.progress("INC-1")
            except IncidentError:
                # Forgotten; it is opened anew while what it left is still being taken away.
                progress = open_incident(incidents, pool, "ada", "grace", "linus", "nobody")
            assert counters(progress) == recount(worker.ledger, "INC-1")
        # Whatever is left of it then ends, and is forgotten to the last key.
        step("cancel")
        for _ in range(10):
            step("time")
            crew.finish()
        let_time_pass(worker.ledger.redis, settings.retention.total_seconds() + 1)
        crew.forget()
        assert [key for key in worker.ledger.redis.keys("*") if "INC-1" in key] == []
        # Of a message that nobody had read when its incident was forgotten.
        assert letters.count_by_error().keys() <= {"ReservedId"}

    @pytest.mark.parametrize("part", ["devices", "users", "outcomes", "timeline"])
    def test_a_name_that_only_looks_like_an_incident_is_only_a_note(
        self, part: str, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "grace": 1})
        key = next(key for username, key, _ in cognito.devices(pool) if username == "grace")
        open_incident(incidents, pool, "ada")
        crew.finish()
        before = counters(incidents.progress("INC-1"))
        command_id = Producer(incidents.settings).enqueue(
            user_pool_id=pool, username="grace", device_key=key, status="not_remembered",
            incident_id=f"INC-1:{part}", lane="bulk",
        )  # fmt: skip
        crew.finish()
        record = crew.worker.ledger.lookup(command_id)
        assert record is not None
        assert record.state is State.SUCCEEDED
        assert counters(incidents.progress("INC-1")) == before
        with pytest.raises(IncidentError, match="no incident"):
            incidents.progress(f"INC-1:{part}")

    def test_an_incident_that_nobody_opened_is_only_a_note(
        self, producer: Producer, ledger: object, settings: Settings
    ) -> None:
        producer.enqueue(make_command(incident_id="INC-9"))
        assert list(Incidents(settings).list()) == []


class TestRetention:
    def test_it_is_kept_for_the_retention_after_its_end(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        let_time_pass(crew.worker.ledger.redis, 2 * settings.retention.total_seconds())
        crew.forget()
        assert incidents.progress("INC-1").phase is Phase.RUNNING
        crew.finish()
        redis = crew.worker.ledger.redis
        let_time_pass(redis, settings.retention.total_seconds() - 1)
        crew.forget()
        assert incidents.progress("INC-1").all_succeeded
        let_time_pass(redis, 2)
        crew.forget()
        with pytest.raises(IncidentError, match="no incident INC-1"):
            incidents.progress("INC-1")
        assert list(incidents.list()) == []

    def test_verified_it_is_kept_for_the_retention_again_with_all_it_found(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada", "nobody")
        crew.finish()
        redis, most = crew.worker.ledger.redis, settings.retention.total_seconds()
        let_time_pass(redis, most / 2)
        cognito.add_device(pool, "ada")
        incidents.verify("INC-1")
        crew.finish()

        keys = list(redis.scan_iter(incident_key("INC-1") + "*"))
        assert incident_key("INC-1", "findings") in keys
        assert incident_key("INC-1", "new") in keys
        let_time_pass(redis, most * 0.9)
        crew.forget()
        devices = [each for each in records(incidents, "INC-1") if each["record"] == "device"]
        assert [each["verified_as"] for each in devices] == ["not_remembered"] * 2
        let_time_pass(redis, most * 0.1 + 1)
        crew.forget()
        assert not list(redis.scan_iter(incident_key("INC-1") + "*"))

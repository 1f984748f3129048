"""Promises about what is kept of an incident: all of it, until it is forgotten as a whole, in small steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from device_status import DeadLetters, IncidentError, Incidents, Settings, load_settings
from device_status.dead_letters import NotRedrivableError, purge_past_retention
from device_status.incident import incident_key
from device_status.incident_records import records
from device_status.ledger import PREFIX, own_ms
from device_status_worker.forgetting import PORTION
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.wire import json_response
from support.clock import let_time_pass
from support.incidents import Crew, counters, make_users, open_incident, recount, statuses

DAY = 86_400
RETENTION = 7 * DAY


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000)


@pytest.fixture
def pass_time(crew: Crew) -> Callable[[float], None]:
    """Lets time pass, and the sweeper do what is due then."""

    def pass_time(seconds: float) -> None:
        let_time_pass(crew.worker.ledger.redis, seconds)
        purge_past_retention(crew.worker.ledger)
        crew.forget()

    return pass_time


PassTime = Callable[[float], None]


def devices_of(incidents: Incidents) -> list[str]:
    return [each["outcome"] for each in records(incidents, "INC-1") if each["record"] == "device"]


def left_of(crew: Crew) -> list[str]:
    """What the ledger still holds of incidents: their parts, commands and dead letters."""
    redis = crew.worker.ledger.redis
    counter = f"{PREFIX}incidents:lives"
    return [key for key in redis.scan_iter() if ("incident" in key or "dead" in key) and key != counter]


class TestWhatIsKept:
    def test_it_outlives_the_work_however_long_that_takes(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 3, "grace": 2})
        open_incident(incidents, pool, "ada", "grace")
        crew.list(most=1)
        crew.apply()
        pass_time(2 * RETENTION)
        crew.finish()
        pass_time(RETENTION - DAY)
        assert devices_of(incidents) == ["succeeded"] * 5
        incidents.verify("INC-1")
        crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert (found.as_ordered, found.new, found.gone, found.is_as_ordered) == (5, 0, 0, True)
        assert counters(incidents.progress("INC-1")) == recount(crew.worker.ledger, "INC-1")

    def test_its_dead_letters_can_be_redriven_as_long_as_it_is_there(
        self,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        settings: Settings,
        pass_time: PassTime,
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "grace": 1})
        rule = cognito.faults.add(
            Fault.error("UserNotFoundException"), operation="AdminUpdateDeviceStatus", times=1
        )
        open_incident(incidents, pool, "ada", "nobody", "grace")
        crew.list(most=2)
        crew.apply()
        incidents.pause("INC-1")
        pass_time(3 * RETENTION)
        assert rule.hits == 1
        letters = DeadLetters(settings)
        make_users(cognito, {"nobody": 1}, pool)
        incidents.resume("INC-1")
        for letter in list(letters.list(incident_id="INC-1")):
            letters.redrive(letter.id)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.succeeded, progress.all_succeeded) == (3, 3, True)
        assert letters.count_by_error() == {}

    def test_a_verification_that_waits_for_longer_than_the_retention_keeps_it(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        crew.finish()
        incidents.verify("INC-1")
        pass_time(RETENTION + DAY)
        crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert (found.as_ordered, found.is_as_ordered) == (2, True)

    def test_a_report_that_is_overtaken_by_the_end_of_the_retention_says_so(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        report = records(incidents, "INC-1")
        assert next(report)["record"] == "incident"
        pass_time(RETENTION + 1)
        with pytest.raises(IncidentError, match="no incident INC-1"):
            list(report)


class TestForgetting:
    @pytest.fixture
    def ended(self, incidents: Incidents, crew: Crew, cognito: LocalCognito) -> str:
        """INC-1, ended, with five devices and two dead letters; its pool."""
        pool = make_users(cognito, {"ada": 5})
        cognito.faults.add(Fault.error("UserNotFoundException"), operation="AdminUpdateDeviceStatus", times=1)
        open_incident(incidents, pool, "ada", "nobody")
        crew.finish()
        assert incidents.progress("INC-1").is_over
        return pool

    def test_past_the_retention_after_its_end_nothing_of_it_is_left(
        self, ended: str, incidents: Incidents, crew: Crew, settings: Settings, pass_time: PassTime
    ) -> None:
        pass_time(RETENTION - 60)
        assert sorted(devices_of(incidents)) == ["dead_lettered"] + ["succeeded"] * 4
        pass_time(120)
        with pytest.raises(IncidentError, match="no incident INC-1"):
            incidents.progress("INC-1")
        assert left_of(crew) == []
        assert list(DeadLetters(settings).list()) == []
        assert DeadLetters(settings).count_by_error() == {}

    def test_nobody_sees_half_of_it_and_no_script_touches_more_than_its_portion(
        self, ended: str, incidents: Incidents, crew: Crew
    ) -> None:
        ledger = crew.worker.ledger
        let_time_pass(ledger.redis, RETENTION + 60)
        assert ledger.scripts.run("forget", [], own_ms()) == 1
        assert ledger.scripts.run("forget", [], own_ms()) == 0
        with pytest.raises(IncidentError, match="no incident INC-1"):
            incidents.progress("INC-1")
        assert list(incidents.list()) == []
        left = [len(ledger.redis.keys(f"{PREFIX}command:incident:*"))]
        while ledger.scripts.run("forgotten", [], 2):
            left.append(len(ledger.redis.keys(f"{PREFIX}command:incident:*")))
        assert left == [5, 3, 1]
        assert left_of(crew) == []

    def test_of_an_incident_of_thousands_the_sweeper_takes_what_a_round_allows(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool, redis = cognito.create_pool(), crew.worker.ledger.redis
        count = 21 * PORTION
        devices = ((f"user-{n}", f"us-east-1_{n:08x}") for n in range(count))
        incidents.open("INC-1", user_pool_id=pool, devices=devices)
        incidents.cancel("INC-1")
        let_time_pass(redis, RETENTION + 60)
        calls = redis.info("commandstats")["cmdstat_del"]["calls"]
        crew.forget()
        assert redis.info("commandstats")["cmdstat_del"]["calls"] - calls == 20 * PORTION
        crew.forget()
        assert left_of(crew) == []

    def test_a_dead_letter_of_a_forgotten_incident_is_not_redriven(
        self, ended: str, crew: Crew, settings: Settings
    ) -> None:
        letters = list(DeadLetters(settings).list())
        let_time_pass(crew.worker.ledger.redis, RETENTION + 60)
        crew.worker.ledger.scripts.run("forget", [], own_ms())
        for letter in letters:
            with pytest.raises(NotRedrivableError, match="its incident is"):
                DeadLetters(settings).redrive(letter.id)


class TestOpenedAnew:
    """Under an id that was forgotten, while what the earlier life left is still being taken away."""

    @pytest.mark.parametrize("portions_before", [0, 1, 2])
    @pytest.mark.parametrize("portions_between", [0, 1, 2])
    def test_no_outcome_of_the_earlier_life_is_taken_for_one_of_the_new(
        self,
        portions_before: int,
        portions_between: int,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        settings: Settings,
    ) -> None:
        ledger = crew.worker.ledger
        pool = make_users(cognito, {"ada": 5})
        cognito.faults.add(Fault.error("UserNotFoundException"), operation="AdminUpdateDeviceStatus", times=1)
        open_incident(incidents, pool, "ada", "nobody")
        crew.finish()
        let_time_pass(ledger.redis, RETENTION + 60)
        ledger.scripts.run("forget", [], own_ms())
        for _ in range(portions_before):
            ledger.scripts.run("forgotten", [], 2)
        asked = updates(cognito)

        # Anew, all devices fail but one: what is found of the others is of this life.
        cognito.faults.add(
            Fault.error("NotAuthorizedException"), operation="AdminUpdateDeviceStatus", times=4
        )
        open_incident(incidents, pool, "ada", "nobody")
        crew.list()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.open, progress.succeeded) == (5, 5, 0)
        assert counters(progress) == recount(ledger, "INC-1")
        for _ in range(portions_between):
            ledger.scripts.run("forgotten", [], 2)
        crew.finish()
        crew.forget()
        progress = incidents.progress("INC-1")
        assert updates(cognito) == asked + 5
        assert (progress.devices, progress.succeeded, progress.dead_lettered) == (5, 1, 4)
        assert counters(progress) == recount(ledger, "INC-1")
        assert sorted(devices_of(incidents)) == ["dead_lettered"] * 4 + ["succeeded"]
        codes = DeadLetters(settings).count_by_error()
        assert codes == {"NotAuthorizedException": 4, "ResourceNotFoundException": 1}
        assert len(list(DeadLetters(settings).list(incident_id="INC-1"))) == 5

    def test_a_device_of_the_earlier_life_alone_is_new_to_a_verification(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        ledger, pool = crew.worker.ledger, make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        let_time_pass(ledger.redis, RETENTION + 60)
        ledger.scripts.run("forget", [], own_ms())
        cognito.faults.add(_listed(), operation="AdminListDevices", times=1)
        open_incident(incidents, pool, "ada")
        crew.finish()
        assert incidents.progress("INC-1").devices == 0
        incidents.verify("INC-1")
        crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert (found.new, found.as_ordered) == (1, 0)
        assert statuses(cognito, pool) == {"not_remembered": 1}

    def test_a_verification_of_the_earlier_life_says_nothing_of_the_new(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        ledger, pool = crew.worker.ledger, make_users(cognito, {"ada": 1})
        runs = []
        for _ in range(2):
            open_incident(incidents, pool, "ada")
            crew.finish()
            incidents.verify("INC-1")
            runs.append(ledger.redis.hget(incident_key("INC-1", "verification"), "run"))
            crew.finish()
            let_time_pass(ledger.redis, RETENTION + 60)
            crew.forget()
        assert runs[0] != runs[1]


def updates(cognito: LocalCognito) -> int:
    return sum(request.operation == "AdminUpdateDeviceStatus" for request in cognito.requests)


def _listed(*devices: dict[str, Any]) -> Fault:
    """An answer of AdminListDevices with these devices."""
    return Fault("listed", json_response({"Devices": list(devices)}))

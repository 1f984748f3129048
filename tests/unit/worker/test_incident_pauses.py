"""Promises about incidents that pause for long: they go on where they were, and undo nothing newer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from device_status import DeadLetters, DeviceStatusCommand, Incidents, Lane, Settings, State, load_settings
from device_status.ledger import Ledger, device_key, own_ms
from device_status.outcomes import Done
from device_status_worker.handle import handle
from device_status_worker.local import Fault, LocalCognito
from support import make_command
from support.clock import let_time_pass
from support.incidents import Crew, counters, make_users, open_incident, recount, statuses

DAY = 86_400
RETENTION = 7 * DAY
MAX_AGE = DAY
FENCE = RETENTION + DAY + 600
"""Seconds that a fence is kept: a clock may step forward by a day and run ahead by ten minutes."""


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000)


@pytest.fixture
def pass_time(crew: Crew) -> Callable[[float], None]:
    """Lets time pass, and the sweeper do what is due then."""

    def pass_time(seconds: float) -> None:
        let_time_pass(crew.worker.ledger.redis, seconds)
        crew.forget()

    return pass_time


PassTime = Callable[[float], None]


def keys_of(cognito: LocalCognito, pool: str) -> list[str]:
    return [key for _, key, _ in cognito.devices(pool)]


def apply_newer(crew: Crew, pool: str, username: str, key: str, ahead: float = 0) -> DeviceStatusCommand:
    """Another service's command, issued now (or so many seconds ahead) and done at once."""
    command = make_command(
        user_pool_id=pool,
        username=username,
        device_key=key,
        status="remembered",
        issued_at=datetime.now(UTC) + timedelta(seconds=ahead),
    )
    assert handle(command, Lane.ROUTINE, crew.worker) == Done(State.SUCCEEDED)
    return command


def life_of(ledger: Ledger, command: DeviceStatusCommand) -> int:
    """Seconds until the device's fence is gone; -1: it stays."""
    return int(ledger.redis.ttl(device_key(command)))


class TestPastTheRetention:
    @pytest.mark.parametrize("listed_before", [True, False])
    def test_it_goes_on_where_it_was_and_undoes_nothing_newer(
        self,
        listed_before: bool,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        settings: Settings,
        pass_time: PassTime,
    ) -> None:
        pool = make_users(cognito, {"ada": 4})
        key = keys_of(cognito, pool)[0]
        open_incident(incidents, pool, "ada")
        if listed_before:
            crew.list()
        incidents.pause("INC-1")
        crew.apply()
        pass_time(RETENTION + DAY)
        apply_newer(crew, pool, "ada", key)
        pass_time(RETENTION + DAY)
        incidents.resume("INC-1")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert DeadLetters(settings).count_by_error() == {}
        assert (progress.devices, progress.succeeded, progress.superseded) == (4, 3, 1)
        assert (progress.is_over, counters(progress)) == (True, recount(crew.worker.ledger, "INC-1"))
        assert statuses(cognito, pool) == {"remembered": 1, "not_remembered": 3}

    def test_a_command_issued_ahead_of_the_clock_before_it_was_opened_is_not_undone_either(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        key = keys_of(cognito, pool)[0]
        apply_newer(crew, pool, "ada", key, ahead=120)
        open_incident(incidents, pool, "ada")
        crew.list()
        incidents.pause("INC-1")
        crew.apply()
        pass_time(RETENTION + DAY)
        incidents.resume("INC-1")
        crew.finish()
        assert incidents.progress("INC-1").superseded == 1

    def test_a_dead_letter_of_it_is_redriven_as_long_as_it_is_kept(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        incidents.pause("INC-1")
        pass_time(RETENTION + DAY)
        incidents.resume("INC-1")
        cognito.faults.add(Fault.error("UserNotFoundException"), operation="AdminUpdateDeviceStatus", times=2)
        crew.finish()
        first, second = DeadLetters(settings).list(incident_id="INC-1")
        assert first.command is not None
        apply_newer(crew, pool, "ada", first.command.device_key)
        pass_time(RETENTION - DAY)
        incidents.verify("INC-1")
        crew.finish()
        pass_time(RETENTION - DAY)
        for letter in (first, second):
            DeadLetters(settings).redrive(letter.id)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.superseded, progress.succeeded, progress.dead_lettered) == (1, 1, 0)

    def test_what_is_no_part_of_it_is_still_too_old(self, crew: Crew, incidents: Incidents) -> None:
        old = datetime.now(UTC) - timedelta(seconds=RETENTION + 5)
        command = make_command(issued_at=old, incident_id="INC-1")
        incidents.open("INC-1", user_pool_id=command.user_pool_id)
        assert crew.worker.ledger.claim(command, Lane.BULK) == Done(State.DEAD_LETTERED, "TooOld")


class TestFences:
    def test_they_stay_while_an_incident_of_their_pool_that_is_older_does_and_no_longer(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool, other = make_users(cognito, {"ada": 3}), make_users(cognito, {"ada": 1})
        keys = keys_of(cognito, pool)
        ledger = crew.worker.ledger
        before = apply_newer(crew, pool, "ada", keys[0])
        elsewhere = apply_newer(crew, other, "ada", keys_of(cognito, other)[0])
        incidents.open("INC-1", user_pool_id=pool, devices=[("ada", keys[0])])
        meanwhile = apply_newer(crew, pool, "ada", keys[1])
        assert [life_of(ledger, each) > 0 for each in (before, elsewhere, meanwhile)] == [True, True, False]
        assert life_of(ledger, meanwhile) == -1
        crew.finish()
        assert incidents.progress("INC-1").is_over
        pass_time(60)
        # It may go on: an incident that is kept can be opened again with more users.
        assert life_of(ledger, meanwhile) == -1
        incidents.open("INC-2", user_pool_id=pool, devices=[("ada", keys[1])])
        later = apply_newer(crew, pool, "ada", keys[2])
        incidents.pause("INC-2")
        pass_time(RETENTION + DAY)
        # INC-1 is forgotten; what is older than INC-2 is needed no longer.
        assert FENCE - 60 < life_of(ledger, meanwhile) <= FENCE
        assert life_of(ledger, later) == -1
        incidents.cancel("INC-2")
        pass_time(RETENTION + DAY)
        assert FENCE - 60 < life_of(ledger, later) <= FENCE
        left = [key for key in ledger.redis.scan_iter() if "fences" in key or "incidents:of" in key]
        assert left == []

    def test_a_claim_or_a_doubt_gives_them_no_expiry(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        key = keys_of(cognito, pool)[0]
        open_incident(incidents, pool, "ada")
        apply_newer(crew, pool, "ada", key)
        cognito.faults.add(Fault.reset(), operation="AdminUpdateDeviceStatus", times=1)
        newest = make_command(user_pool_id=pool, username="ada", device_key=key)
        handle(newest, Lane.ROUTINE, crew.worker)
        assert life_of(crew.worker.ledger, newest) == -1

    def test_they_are_released_in_steps(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 5})
        open_incident(incidents, pool, "nobody")
        done = [apply_newer(crew, pool, "ada", key) for key in keys_of(cognito, pool)]
        crew.finish()
        ledger = crew.worker.ledger
        let_time_pass(ledger.redis, RETENTION + 60)
        ledger.scripts.run("forget", [], own_ms())
        released = []
        while ledger.scripts.run("release_fences", [], 2, ledger.retention_ms):
            released.append(sum(life_of(ledger, each) > 0 for each in done))
        assert released == [2, 4, 5]

    def test_one_ahead_of_the_clock_gets_its_expiry_when_the_clock_is_there(
        self, crew: Crew, cognito: LocalCognito, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        command = apply_newer(crew, pool, "ada", keys_of(cognito, pool)[0], ahead=120)
        pass_time(100)
        assert life_of(crew.worker.ledger, command) == -1
        pass_time(30)
        assert life_of(crew.worker.ledger, command) > RETENTION


class TestAttempts:
    """A pause is no time in which a command or a listing was tried."""

    @pytest.mark.parametrize("operation", ["AdminUpdateDeviceStatus", "AdminListDevices", "ListUsers"])
    def test_a_pause_does_not_use_up_the_time_for_retries(
        self,
        operation: str,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        settings: Settings,
        pass_time: PassTime,
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        rule = cognito.faults.add(
            Fault.error("InternalErrorException", http_status=500), operation=operation, times=2
        )
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.finish()
        assert rule.hits == 1
        incidents.pause("INC-1")
        pass_time(MAX_AGE + 60)
        crew.finish()
        incidents.resume("INC-1")
        crew.finish()
        assert rule.hits == 2
        pass_time(60)
        crew.finish()
        assert DeadLetters(settings).count_by_error() == {}
        assert incidents.progress("INC-1").all_succeeded

    def test_but_the_time_since_it_was_resumed_does(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, settings: Settings, pass_time: PassTime
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        cognito.faults.add(
            Fault.error("InternalErrorException", http_status=500), operation="AdminUpdateDeviceStatus"
        )
        open_incident(incidents, pool, "ada")
        crew.finish()
        incidents.pause("INC-1")
        incidents.resume("INC-1")
        pass_time(MAX_AGE + 60)
        crew.finish()
        assert DeadLetters(settings).count_by_error() == {"RetriesExhausted": 1}

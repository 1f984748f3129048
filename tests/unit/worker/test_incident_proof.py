"""Promises of proof: an incident says that all is well only of those whom it knew, reached, and changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from device_status import Incidents, Lane, Producer, Settings, State, load_settings
from device_status.errors import InvalidCommandError
from device_status.ledger import as_json, command_key
from device_status.outcomes import Done, Waiting
from device_status_worker.handle import Worker, handle
from device_status_worker.local import Fault, LocalCognito
from support import device, make_command
from support.clock import let_time_pass
from support.incidents import Crew, make_users, open_incident, statuses


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000)


def verify(incidents: Incidents, crew: Crew) -> Any:
    incidents.verify("INC-1")
    crew.list()
    verification = incidents.progress("INC-1").verification
    assert verification is not None
    assert verification.ended_at is not None
    return verification


class TestWhoWasLeftOut:
    def test_cancelled_before_all_users_are_known_it_is_no_success_and_not_verified(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {f"user-{number}": 1 for number in range(70)})
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        cognito.faults.add(Fault.error("TooManyRequestsException"), operation="ListUsers", nth=2)
        crew.list()
        crew.apply()
        incidents.cancel("INC-1")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert progress.is_over
        assert (progress.succeeded, progress.all_succeeded, progress.is_input_complete) == (60, False, False)
        assert statuses(cognito, pool)["remembered"] == 10
        assert not verify(incidents, crew).is_as_ordered

    def test_a_pool_of_which_a_page_is_missing_is_not_verified(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {f"user-{number}": 1 for number in range(70)})
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.list(1)
        cognito.faults.add(Fault.error("InvalidParameterException"), operation="ListUsers")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert progress.is_over
        assert progress.input_error is not None
        assert not progress.all_succeeded
        assert not verify(incidents, crew).is_as_ordered

    def test_opened_again_and_not_finished_it_is_no_success(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded

        def dies() -> Any:
            raise KeyboardInterrupt
            yield

        with pytest.raises(KeyboardInterrupt):
            incidents.open("INC-1", user_pool_id=pool, users=dies())
        assert not incidents.progress("INC-1").all_succeeded
        open_incident(incidents, pool, "ada")
        assert incidents.progress("INC-1").all_succeeded

    def test_a_misspelt_user_of_a_given_device_is_not_verified(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        incidents.open("INC-1", user_pool_id=pool, devices=[("adaa", device(1))])
        crew.finish()
        verification = verify(incidents, crew)
        assert (verification.users_failed, verification.is_as_ordered) == (1, False)

    def test_a_pool_that_is_missing_says_nothing_of_its_users(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        crew.finish()
        gone = Fault.error("ResourceNotFoundException", message="User pool x_1 does not exist.")
        cognito.faults.add(gone, operation="AdminListDevices")
        verification = verify(incidents, crew)
        assert (verification.users_failed, verification.gone, verification.is_as_ordered) == (1, 0, False)

    def test_a_user_who_is_missing_since_is_gone_with_the_devices(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "bob": 1})
        open_incident(incidents, pool, "ada", "bob")
        crew.finish()
        gone = Fault.error("UserNotFoundException", message="User does not exist.")
        cognito.faults.add(gone, operation="AdminListDevices", username="bob")
        verification = verify(incidents, crew)
        assert (verification.as_ordered, verification.gone, verification.is_as_ordered) == (1, 1, True)


class TestManyIncidents:
    def test_a_hundred_that_are_paused_keep_no_other_waiting(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1, "bob": 1})
        for number in range(101):
            incidents.open(f"PAUSED-{number}", user_pool_id=pool, users=["ada"])
            incidents.pause(f"PAUSED-{number}")
        open_incident(incidents, pool, "bob")
        for _ in range(3):  # Looks for work, as a lister makes one each second.
            crew.finish()
        assert incidents.progress("INC-1").all_succeeded
        incidents.resume("PAUSED-7")
        crew.finish()
        assert incidents.progress("PAUSED-7").all_succeeded


class TestAppliedAndInDoubt:
    """What was applied and may be undone is applied once more, whatever comes between."""

    @pytest.fixture
    def doubtful(self, worker: Worker, cognito: LocalCognito, new_command: Any) -> Any:
        """A command that was applied while a request of an older one was in doubt, and throttled then."""
        issued_at = datetime.now(UTC) - timedelta(minutes=1)
        command = new_command(issued_at=issued_at, expires_at=issued_at + timedelta(minutes=2))
        older = new_command(
            device_key=command.device_key, status="remembered", issued_at=issued_at - timedelta(minutes=1)
        )
        cognito.faults.add(Fault.gateway_timeout(effect_after=0.0), nth=1)
        handle(older, Lane.ROUTINE, worker)
        doubt = handle(command, Lane.ROUTINE, worker)
        assert isinstance(doubt, Waiting)
        assert doubt.error_code == "MayBeUndone"
        let_time_pass(worker.ledger.redis, doubt.due_in)
        throttle = cognito.faults.add(Fault.error("TooManyRequestsException"), times=1)
        throttled = handle(command, Lane.ROUTINE, worker)
        assert isinstance(throttled, Waiting)
        assert throttled.error_code == "TooManyRequestsException"
        cognito.faults.remove(throttle)
        return command

    def test_a_throttle_meanwhile_lets_it_not_expire(
        self, doubtful: Any, worker: Worker, cognito: LocalCognito
    ) -> None:
        expired = doubtful.model_copy(update={"expires_at": doubtful.issued_at + timedelta(seconds=1)})
        worker.ledger.redis.hset(command_key(doubtful.idempotency_key), "command", as_json(expired))
        assert handle(expired, Lane.ROUTINE, worker) == Done(State.SUCCEEDED)
        status = cognito.device_status(doubtful.user_pool_id, doubtful.username, doubtful.device_key)
        assert status == "not_remembered"

    def test_its_attempts_count_anew(
        self, doubtful: Any, worker: Worker, cognito: LocalCognito, settings: Settings
    ) -> None:
        cognito.faults.add(
            Fault.error("InternalErrorException", http_status=500), times=settings.max_attempts - 1
        )
        for _ in range(settings.max_attempts - 1):
            assert isinstance(handle(doubtful, Lane.ROUTINE, worker), Waiting)
        assert handle(doubtful, Lane.ROUTINE, worker) != Done(State.DEAD_LETTERED, "RetriesExhausted")


def test_what_names_the_dead_letter_of_a_user_is_reserved(producer: Producer) -> None:
    with pytest.raises(InvalidCommandError, match="user:"):
        producer.enqueue(make_command(idempotency_key="user:0123"))

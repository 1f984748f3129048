"""Promises about one command's way: each row of the table of failures ends as the table says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from device_status import DeadLetters, DeviceStatusCommand, Lane, Settings, State, load_settings
from device_status.ledger import LEASE, Ledger, as_json, gate_key
from device_status.outcomes import Busy, Claimed, Conflict, DeviceBusy, Done, Lost, Waiting
from device_status.targets import Target
from device_status_worker.aws_http import CALL_TIMEOUT
from device_status_worker.cognito import Cognito, NotSent, Succeeded
from device_status_worker.failures import ACTIONS, Action, Failure
from device_status_worker.gate import LATEST, PAUSE, Slot
from device_status_worker.handle import Worker, handle
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.retries import BASE, SOON
from support.broker import take_commands
from support.clock import PassingTime, let_time_pass

MAX_ATTEMPTS = 3
MAX_AGE = timedelta(hours=24)
MakeCommand = Callable[..., DeviceStatusCommand]


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, max_attempts=MAX_ATTEMPTS, max_age=MAX_AGE, update_quota=1000)


def run(command: DeviceStatusCommand, worker: Worker) -> Any:
    return handle(command, Lane.ROUTINE, worker)


def the_letter(settings: Settings) -> Any:
    (letter,) = DeadLetters(settings).list()
    return letter


def attempts(command: DeviceStatusCommand, worker: Worker) -> int:
    record = worker.ledger.lookup(command.command_id)
    assert record is not None
    return record.attempts


class TestSuccess:
    def test_a_command_succeeds_with_one_request(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        command = new_command()
        assert run(command, worker) == Done(State.SUCCEEDED)
        (request,) = cognito.requests
        record = worker.ledger.lookup(command.command_id)
        assert record is not None
        assert (record.state, record.request_id, record.attempts) == (
            State.SUCCEEDED,
            request.request_id,
            1,
        )

    def test_its_repetition_makes_no_request(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        command = new_command()
        run(command, worker)
        assert run(command, worker) == Done(State.SUCCEEDED)
        assert len(cognito.requests) == 1

    def test_an_older_command_makes_no_request(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        newer = new_command()
        run(newer, worker)
        older = new_command(
            device_key=newer.device_key, status="remembered", issued_at=newer.issued_at - timedelta(seconds=1)
        )
        assert run(older, worker) == Done(State.SUPERSEDED)
        assert len(cognito.requests) == 1

    def test_an_expired_command_makes_no_request(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        late = new_command(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        assert run(late, worker) == Done(State.EXPIRED)
        assert cognito.requests == []

    def test_a_command_under_anothers_key_makes_no_request(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
    ) -> None:
        run(new_command(idempotency_key="one"), worker)
        assert run(new_command(idempotency_key="one"), worker) == Conflict()
        assert the_letter(settings).error_code == "IdempotencyConflict"
        assert len(cognito.requests) == 1

    def test_what_another_worker_has_in_hand_is_left_to_it(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        command = new_command()
        worker.ledger.claim(command, Lane.ROUTINE)
        assert run(command, worker) == Busy()
        assert run(new_command(device_key=command.device_key), worker) == DeviceBusy()
        assert cognito.requests == []


@pytest.mark.parametrize("code", [code for code, action in ACTIONS.items() if action is Action.DEAD_LETTER])
def test_a_fault_of_the_command_is_a_dead_letter_at_once(
    code: str, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
) -> None:
    cognito.faults.add(Fault.error(code, message="why"))
    command = new_command()
    assert run(command, worker) == Done(State.DEAD_LETTERED, code)
    (request,) = cognito.requests
    letter = the_letter(settings)
    assert (letter.error_code, letter.error_message, letter.request_id) == (code, "why", request.request_id)
    assert (letter.command, letter.attempts) == (command, 1)


@pytest.mark.parametrize("code", [code for code, action in ACTIONS.items() if action is Action.SLOW_DOWN])
def test_a_throttled_command_is_retried_soon_for_as_long_as_it_takes(
    code: str, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
) -> None:
    tries = MAX_ATTEMPTS + 2
    cognito.faults.add(Fault.error(code), times=tries)
    command = new_command()
    for _ in range(tries):
        handled = run(command, worker)
        assert isinstance(handled, Waiting)
        assert handled.error_code == code
        assert 0 <= handled.due_in <= SOON
        assert attempts(command, worker) == 0
    assert len(cognito.requests) == tries
    assert run(command, worker) == Done(State.SUCCEEDED)
    assert attempts(command, worker) == 1
    assert list(DeadLetters(settings).list()) == []


FAULTS_OF_THE_SERVICE = {
    "InternalErrorException": Fault.error("InternalErrorException", http_status=500),
    "ServiceUnavailable": Fault.error("ServiceUnavailable", http_status=503),
    "ConnectionClosedError": Fault.reset(),
}


class TestFaultsOfTheService:
    @pytest.mark.parametrize("code", FAULTS_OF_THE_SERVICE)
    def test_they_are_retried_up_to_the_most_attempts(
        self, code: str, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
    ) -> None:
        cognito.faults.add(FAULTS_OF_THE_SERVICE[code])
        command = new_command()
        for number in range(1, MAX_ATTEMPTS):
            handled = run(command, worker)
            assert isinstance(handled, Waiting)
            assert handled.error_code == code
            assert 0 <= handled.due_in <= BASE * 2 ** (number - 1)
            assert attempts(command, worker) == number
        assert run(command, worker) == Done(State.DEAD_LETTERED, "RetriesExhausted")
        letter = the_letter(settings)
        assert code in letter.error_message
        assert letter.attempts == MAX_ATTEMPTS
        assert len(cognito.requests) == MAX_ATTEMPTS

    def test_they_are_retried_up_to_the_greatest_age(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
    ) -> None:
        cognito.faults.add(Fault.error("InternalErrorException", http_status=500))
        command = new_command()
        assert isinstance(run(command, worker), Waiting)
        let_time_pass(worker.ledger.redis, MAX_AGE.total_seconds())
        assert run(command, worker) == Done(State.DEAD_LETTERED, "RetriesExhausted")
        assert "InternalErrorException" in the_letter(settings).error_message
        assert len(cognito.requests) == 2

    def test_one_that_passes_does_no_harm(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        cognito.faults.add(Fault.error("InternalErrorException", http_status=500), times=MAX_ATTEMPTS - 1)
        command = new_command()
        for _ in range(MAX_ATTEMPTS - 1):
            assert isinstance(run(command, worker), Waiting)
        assert run(command, worker) == Done(State.SUCCEEDED)
        record = worker.ledger.lookup(command.command_id)
        assert record is not None
        assert (record.error_code, record.attempts) == (None, MAX_ATTEMPTS)

    def test_a_request_without_an_answer_casts_doubt_on_what_follows(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        older = new_command(status="remembered")
        cognito.faults.add(Fault.reset(), times=1)
        assert isinstance(run(older, worker), Waiting)
        newer = new_command(device_key=older.device_key)
        doubt = run(newer, worker)
        assert isinstance(doubt, Waiting)
        assert doubt.error_code == "MayBeUndone"
        let_time_pass(worker.ledger.redis, doubt.due_in)
        assert run(newer, worker) == Done(State.SUCCEEDED)


OUR_FAULTS = [code for code, action in ACTIONS.items() if action is Action.PAUSE]


class TestFaultsOfOurs:
    @pytest.mark.parametrize("code", OUR_FAULTS)
    def test_nothing_is_dead_lettered_and_no_request_is_made_until_the_pause_is_over(
        self,
        code: str,
        worker: Worker,
        cognito: LocalCognito,
        new_command: MakeCommand,
        settings: Settings,
        clock: PassingTime,
    ) -> None:
        fault = cognito.faults.add(Fault.error(code))
        first, second = new_command(), new_command()
        handled = run(first, worker)
        assert isinstance(handled, Waiting)
        assert handled.error_code == code

        held = run(second, worker)
        assert isinstance(held, Waiting)
        assert held.error_code == f"GatePaused:{code}"
        assert held.due_in + sum(clock.waits) >= PAUSE - 1
        assert len(cognito.requests) == 1

        cognito.faults.remove(fault)
        let_time_pass(worker.ledger.redis, PAUSE)
        assert run(first, worker) == Done(State.SUCCEEDED)
        assert run(second, worker) == Done(State.SUCCEEDED)
        assert (attempts(first, worker), attempts(second, worker)) == (1, 1)
        assert list(DeadLetters(settings).list()) == []

    def test_it_never_gives_up(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
    ) -> None:
        cognito.faults.add(Fault.error("ExpiredTokenException"))
        command = new_command()
        for _ in range(MAX_ATTEMPTS + 2):
            handled = run(command, worker)
            assert isinstance(handled, Waiting)
            assert handled.error_code == "ExpiredTokenException"
            let_time_pass(worker.ledger.redis, PAUSE)
        assert attempts(command, worker) == 0
        assert list(DeadLetters(settings).list()) == []


class TestClaimsThatEnd:
    def test_a_command_that_kills_its_workers_is_given_up(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
    ) -> None:
        command = new_command()
        for _ in range(MAX_ATTEMPTS):
            assert isinstance(worker.ledger.claim(command, Lane.ROUTINE), Claimed)
            let_time_pass(worker.ledger.redis, LEASE)
        assert run(command, worker) == Done(State.DEAD_LETTERED, "RetriesExhausted")
        assert the_letter(settings).attempts == MAX_ATTEMPTS
        assert cognito.requests == []

    def test_a_request_that_is_late_is_repaired(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, settings: Settings
    ) -> None:
        older = new_command(status="remembered")
        newer = new_command(device_key=older.device_key)
        # As on a process that was stopped with its request on the way.
        cognito.faults.add(Fault.delay(1.0, late=True), nth=1)
        ends: list[Any] = []
        thread = threading.Thread(target=lambda: ends.append(run(older, worker)))
        thread.start()
        assert cognito.wait_for_requests(1)
        let_time_pass(worker.ledger.redis, LEASE)
        assert run(newer, worker) == Done(State.SUCCEEDED)
        thread.join()

        assert ends == [Lost()]
        (fields,) = take_commands(settings.broker_url, Lane.ROUTINE)
        repair = DeviceStatusCommand.model_validate(fields)
        assert repair.status is newer.status
        handled = run(repair, worker)
        assert isinstance(handled, Waiting)
        let_time_pass(worker.ledger.redis, handled.due_in)
        assert run(repair, worker) == Done(State.SUCCEEDED)
        # The command that was overtaken is found out by whoever claims it next.
        let_time_pass(worker.ledger.redis, LEASE)
        assert run(older, worker) == Done(State.SUPERSEDED)
        assert cognito.device_status(newer.user_pool_id, newer.username, newer.device_key) == "not_remembered"

    def test_a_host_that_is_late_for_every_slot_sends_nothing(
        self, settings: Settings, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        class HeldUp(Cognito):
            def update_device_status(
                self, claim: Claimed, target: Target, slot: Slot
            ) -> Succeeded | Failure | NotSent:
                time.sleep(2 * LATEST)
                return super().update_device_status(claim, target, slot)

        ledger = Ledger(settings.ledger, lease=CALL_TIMEOUT + 0.5)
        held_up = replace(worker, ledger=ledger, cognito=HeldUp(connections=1))
        command = new_command()
        target = settings.target(command.user_pool_id)
        held_up.cognito.warm_up(command, target)
        handled = run(command, held_up)
        assert isinstance(handled, Waiting)
        assert handled.error_code == "SlotsMissed"
        assert cognito.requests == []
        slots = gate_key(target, "UserResourceUpdate") + ":slots"
        assert not ledger.redis.exists(slots), "given back, for others to use"
        assert run(command, worker) == Done(State.SUCCEEDED)

    def test_a_worker_that_shuts_down_gives_its_command_back_for_now(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand, clock: PassingTime
    ) -> None:
        clock.stops = True
        command = new_command()
        assert run(command, worker) == Waiting("ShuttingDown", 0)
        assert cognito.requests == []
        assert attempts(command, worker) == 0
        clock.stops = False
        assert run(command, worker) == Done(State.SUCCEEDED)


def test_a_command_that_no_ledger_entry_knows_is_entered(worker: Worker, new_command: MakeCommand) -> None:
    command = new_command()
    run(command, worker)
    record = worker.ledger.lookup(command.command_id)
    assert record is not None
    assert record.command is not None
    assert as_json(record.command) == as_json(command)

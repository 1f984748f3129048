"""Promises about one message: each command is handled or given back, and no thread is kept for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from device_status import DeadLetters, Lane, Settings, State
from device_status.ledger import Ledger
from device_status.outcomes import Claimed
from device_status.publisher import BrokerUnavailableError, Publisher
from device_status.targets import Target
from device_status_worker import receive as receive_module
from device_status_worker.cognito import Cognito, NotSent, Succeeded
from device_status_worker.failures import Failure
from device_status_worker.gate import Slot
from device_status_worker.handle import Worker
from device_status_worker.intake import Intake
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.receive import Receiver
from device_status_worker.redaction import Pseudonyms
from support.broker import take_commands
from support.servers import HOST, free_port

LANE = Lane.BULK
MakeCommand = Callable[..., Any]


@pytest.fixture
def stop() -> Event:
    return Event()


@pytest.fixture
def receiver(worker: Worker, stop: Event) -> Receiver:
    """Of a process with one thread, so that none is idle."""
    return receiver_of(worker, stop)


def receiver_of(worker: Worker, stop: Event) -> Receiver:
    receiver = Receiver(worker, Intake(worker.ledger), Pseudonyms(worker.ledger), stop)
    receiver.threads = 1
    return receiver


@pytest.fixture
def wire(new_command: MakeCommand) -> Callable[[int], list[dict[str, Any]]]:
    """Makes the commands of one message."""
    return lambda count: [new_command().to_wire() for _ in range(count)]


Wire = Callable[[int], list[dict[str, Any]]]


def states(ledger: Ledger, commands: list[dict[str, Any]]) -> list[State | None]:
    records = [ledger.lookup(command["command_id"]) for command in commands]
    return [record.state if record else None for record in records]


def ids(commands: list[dict[str, Any]]) -> list[str]:
    return [command["command_id"] for command in commands]


class TestHandling:
    def test_every_command_of_a_message_is_handled(
        self, receiver: Receiver, ledger: Ledger, wire: Wire
    ) -> None:
        commands = wire(5)
        receiver.receive(commands, LANE, "message")
        assert states(ledger, commands) == [State.SUCCEEDED] * 5

    def test_one_that_is_no_command_does_not_touch_the_others(
        self, receiver: Receiver, ledger: Ledger, settings: Settings, wire: Wire
    ) -> None:
        commands = wire(2)
        for _ in range(2):  # The second time as a message that was delivered again.
            receiver.receive([commands[0], {"what": "is this"}, commands[1]], LANE, "message")
        assert states(ledger, commands) == [State.SUCCEEDED] * 2
        (letter,) = DeadLetters(settings).list()
        assert letter.error_code == "MalformedCommand"

    def test_a_bug_in_one_does_not_touch_the_others_nor_tell_what_it_saw(
        self, worker: Worker, stop: Event, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        commands = wire(3)

        class WithABug(Cognito):
            def update_device_status(
                self, claim: Claimed, target: Target, slot: Slot
            ) -> Succeeded | Failure | NotSent:
                if claim.command.command_id == commands[1]["command_id"]:
                    raise ZeroDivisionError(claim.command.username)
                return worker.cognito.update_device_status(claim, target, slot)

        broken = Worker(worker.settings, worker.ledger, worker.gates, WithABug(1), worker.publisher)
        with caplog.at_level(logging.INFO):
            receiver_of(broken, stop).receive(commands, LANE, "message")
        assert states(worker.ledger, commands) == [State.SUCCEEDED, State.CLAIMED, State.SUCCEEDED]
        (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert commands[1]["command_id"] in error.getMessage()
        assert "ZeroDivisionError" in error.getMessage()
        assert error.exc_info is None
        for command in commands:
            assert command["device_key"] not in caplog.text

    def test_a_pause_is_one_error_in_the_log_for_all_that_waits(
        self, receiver: Receiver, worker: Worker, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        commands = wire(3)
        target = worker.settings.target(commands[0]["user_pool_id"])
        worker.gates.update(target).pause("AccessDeniedException")
        with caplog.at_level(logging.INFO):
            receiver.receive(commands, LANE, "message")
        (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert error.getMessage().startswith(
            "requests to default/us-east-1 are paused: AccessDeniedException;"
        )


class TestGivingBack:
    def test_what_exceeds_the_budget_goes_to_the_end_of_the_queue(
        self,
        receiver: Receiver,
        ledger: Ledger,
        settings: Settings,
        wire: Wire,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(receive_module, "BUDGET", 0.0)
        commands = wire(4)
        receiver.receive(commands, LANE, "message")
        assert states(ledger, commands) == [State.SUCCEEDED] + [State.QUEUED] * 3
        assert ids(take_commands(settings.broker_url, LANE)) == ids(commands[1:])

    def test_what_is_refused_on_the_way_back_is_a_dead_letter(
        self,
        receiver: Receiver,
        ledger: Ledger,
        new_command: MakeCommand,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Its sender, another producer, waits for no answer."""
        monkeypatch.setattr(receive_module, "BUDGET", 0.0)
        first, holder = new_command(), new_command()
        ledger.enter([holder], LANE)
        other = new_command(idempotency_key=holder.idempotency_key)
        receiver.receive([first.to_wire(), other.to_wire()], LANE, "message")
        record = ledger.lookup(other.command_id)
        assert record is not None
        assert (record.outcome, record.error_code) == (State.DEAD_LETTERED, "IdempotencyConflict")

    def test_the_budget_counts_the_time_that_has_passed(
        self,
        receiver: Receiver,
        ledger: Ledger,
        cognito: LocalCognito,
        wire: Wire,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(receive_module, "BUDGET", 0.5)
        cognito.faults.add(Fault.delay(0.3))
        commands = wire(10)
        began_at = time.monotonic()
        receiver.receive(commands, LANE, "message")
        assert 1 <= states(ledger, commands).count(State.SUCCEEDED) <= 2
        assert time.monotonic() - began_at >= 0.5

    def test_an_idle_thread_gets_half(
        self, receiver: Receiver, ledger: Ledger, settings: Settings, wire: Wire
    ) -> None:
        receiver.threads = 2
        commands = wire(8)
        receiver.receive(commands, LANE, "message")
        given = ids(take_commands(settings.broker_url, LANE))
        # After the first, 3 of the 7 left; after the second, 1 of 3; the last is not given away.
        assert given == [*ids(commands[5:]), *ids(commands[4:5])]
        by_id = dict(zip(ids(commands), states(ledger, commands), strict=True))
        assert {by_id[each] for each in given} == {State.QUEUED}
        assert {by_id[each] for each in by_id if each not in given} == {State.SUCCEEDED}

    def test_a_message_for_many_threads_passes_on_until_one_is_left_to_each(
        self, receiver: Receiver, settings: Settings, ledger: Ledger, wire: Wire
    ) -> None:
        receiver.threads = 2
        commands = wire(16)
        waiting = [commands]
        while waiting:
            receiver.receive(waiting.pop(), LANE, "message")
            if rest := take_commands(settings.broker_url, LANE):
                waiting.append(rest)
        assert states(ledger, commands) == [State.SUCCEEDED] * 16

    def test_a_worker_that_stops_gives_the_rest_back(
        self, receiver: Receiver, ledger: Ledger, settings: Settings, wire: Wire, stop: Event
    ) -> None:
        stop.set()
        commands = wire(3)
        receiver.receive(commands, LANE, "message")
        given = take_commands(settings.broker_url, LANE)
        assert ids(given) == ids(commands[1:])
        assert states(ledger, commands)[0] is State.SUCCEEDED

    def test_a_rest_that_cannot_be_given_back_keeps_the_message(
        self, worker: Worker, wire: Wire, stop: Event
    ) -> None:
        stop.set()
        nowhere = Publisher(f"redis://{HOST}:{free_port()}/0")
        cut_off = Worker(worker.settings, worker.ledger, worker.gates, worker.cognito, nowhere)
        with pytest.raises(BrokerUnavailableError):
            receiver_of(cut_off, stop).receive(wire(2), LANE, "message")

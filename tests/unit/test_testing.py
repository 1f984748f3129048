"""What the fakes add to the real classes: assertions, plans, failures, and that nothing reaches a server."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from device_status import (
    DeadLetters,
    DeviceStatusError,
    IdempotencyConflictError,
    Incidents,
    LedgerUnavailableError,
    Producer,
    PublishError,
    Settings,
    State,
    load_settings,
)
from device_status.ledger import Ledger
from device_status.publisher import Publisher
from device_status.testing import FakeIncidents, FakeProducer, Fakes, patched, worker
from device_status.testing.matching import FIELDS
from support import POOL, USERNAME, device, make_command, wire_object


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def incidents() -> FakeIncidents:
    return FakeIncidents()


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with patched() as fakes:
        yield fakes


def enqueue(producer: Producer, username: str = "ada", **fields: Any) -> str:
    return producer.enqueue(wire_object(username=username, **fields))


class TestSent:
    def test_is_in_order_and_holds_each_once(self, producer: FakeProducer) -> None:
        enqueue(producer, "ada", command_id="1")
        producer.enqueue(wire_object(username="grace", command_id="2"), lane="bulk")
        enqueue(producer, "ada", command_id="1")
        with pytest.raises(IdempotencyConflictError):
            enqueue(producer, "eve", command_id="1")
        assert [(each.command.username, each.lane.value) for each in producer.sent] == [
            ("ada", "routine"),
            ("grace", "bulk"),
        ]

    def test_leaves_out_what_was_not_published(self, producer: FakeProducer) -> None:
        producer.fail(PublishError)
        with pytest.raises(PublishError):
            enqueue(producer, command_id="1")
        assert producer.sent == []
        enqueue(producer, command_id="1")
        assert [each.command.command_id for each in producer.sent] == ["1"]

    def test_leaves_out_what_incidents_order(self, fakes: Fakes) -> None:
        Incidents().open("INC-1", user_pool_id=POOL, devices=[("ada", device(1))])
        assert fakes.producer.sent == []

    def test_many_threads_lose_nothing(self, producer: FakeProducer) -> None:
        def enqueue_some() -> None:
            for _ in range(50):
                enqueue(producer)

        threads = [threading.Thread(target=enqueue_some) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(producer.sent) == 400

    def test_clear_forgets(self, producer: FakeProducer) -> None:
        command_id = enqueue(producer)
        producer.play_all(State.SUCCEEDED)
        producer.fail(LedgerUnavailableError, times=None)
        producer.clear()
        assert (producer.sent, producer.lookup(command_id)) == ([], None)
        record = producer.lookup(enqueue(producer))
        assert record is not None
        assert record.state is State.QUEUED


class TestAssertEnqueued:
    def test_returns_the_first_that_fits(self, producer: FakeProducer) -> None:
        enqueue(producer, "ada", command_id="1")
        enqueue(producer, "grace", command_id="2")
        enqueue(producer, "grace", command_id="3")
        assert producer.assert_enqueued(username="grace", lane="routine").command_id == "2"
        assert producer.assert_enqueued(count=3).command_id == "1"
        producer.assert_enqueued(count=2, username="grace", status="not_remembered")

    @pytest.mark.parametrize("issued_at", ["2026-05-04T03:02:01Z", "2026-05-04T05:02:01+02:00"])
    def test_takes_times_as_text(self, producer: FakeProducer, issued_at: str) -> None:
        enqueue(producer, issued_at="2026-05-04T03:02:01Z")
        producer.assert_enqueued(issued_at=issued_at)
        producer.assert_not_enqueued(issued_at="2026-05-04T03:02:02Z")

    def test_a_failure_shows_what_was_enqueued_and_what_differs_in_the_nearest(
        self, producer: FakeProducer
    ) -> None:
        enqueue(producer, "ada", status="remembered", command_id="c-1")
        enqueue(producer, "grace", command_id="c-2", reason="stolen")
        with pytest.raises(AssertionError) as caught:
            producer.assert_enqueued(username="eve", status="not_remembered", lane="routine")
        first, nearest, listed, *commands = str(caught.value).splitlines()
        assert first == (
            "no command with username='eve' and status='not_remembered' and lane='routine' was enqueued"
        )
        assert nearest == "nearest is number 2, which differs in username: 'grace' instead of 'eve'"
        assert listed == "enqueued (2):"
        assert re.match(r"  1\. .*command_id='c-1'.* username='ada' .*status='remembered'.*", commands[0])
        assert re.match(r"  2\. .*username='grace'.* reason='stolen' lane='routine'$", commands[1])
        assert len(commands) == 2

    def test_a_failure_says_that_nothing_was_enqueued(self, producer: FakeProducer) -> None:
        with pytest.raises(AssertionError, match=r"^no command with lane='bulk' was enqueued\nnothing was"):
            producer.assert_enqueued(lane="bulk")

    def test_a_failure_says_how_many_there_were(self, producer: FakeProducer) -> None:
        enqueue(producer)
        with pytest.raises(
            AssertionError, match=r"^1 commands with status='not_remembered' were enqueued, not 2"
        ):
            producer.assert_enqueued(count=2, status="not_remembered")

    def test_a_failure_is_not_endless(self, producer: FakeProducer) -> None:
        producer.enqueue_many(wire_object(device_key=device(number)) for number in range(1000))
        with pytest.raises(AssertionError) as caught:
            producer.assert_enqueued(username="eve")
        assert len(str(caught.value).splitlines()) < 30
        assert str(caught.value).endswith("and 980 more")

    def test_not_enqueued(self, producer: FakeProducer) -> None:
        producer.assert_not_enqueued()
        enqueue(producer)
        producer.assert_not_enqueued(username="eve")
        with pytest.raises(AssertionError, match=r"^1 commands were enqueued, not 0"):
            producer.assert_not_enqueued()
        with pytest.raises(AssertionError, match="enqueued, not 0"):
            producer.assert_not_enqueued(username="ada")

    @pytest.mark.parametrize("check", ["assert_enqueued", "assert_not_enqueued"])
    def test_a_field_that_no_command_has_is_a_mistake(self, producer: FakeProducer, check: str) -> None:
        with pytest.raises(TypeError, match=r"^a command has no user; it has schema_version, command_id"):
            getattr(producer, check)(user="ada")

    def test_zero_is_a_mistake(self, producer: FakeProducer) -> None:
        with pytest.raises(ValueError, match="assert_not_enqueued"):
            producer.assert_enqueued(count=0)

    def test_knows_the_fields_of_a_command_and_its_lane(self) -> None:
        assert set(FIELDS) == {*make_command(expires_at="2026-05-04T03:02:01Z").model_dump(), "lane"}


class TestPlay:
    def test_takes_a_command_or_an_id(self, producer: FakeProducer) -> None:
        command = make_command(idempotency_key="k")
        producer.enqueue(command)
        producer.play(command, "retry_wait", error_code="InternalErrorException", attempts=11)
        producer.play(command.command_id, State.DEAD_LETTERED, error_code="RetriesExhausted")
        record = producer.lookup(command.command_id)
        assert record is not None
        assert (record.outcome, record.attempts, record.error_code) == (
            State.DEAD_LETTERED,
            12,
            "RetriesExhausted",
        )

    def test_what_was_not_enqueued_is_a_mistake(self, producer: FakeProducer) -> None:
        for unknown in ("c-1", make_command()):
            with pytest.raises(LookupError, match="no such command was enqueued"):
                producer.play(unknown, State.SUCCEEDED)

    @pytest.mark.parametrize("state", ["dead_lettered", "retry_wait"])
    def test_needs_an_error_code(self, producer: FakeProducer, state: str) -> None:
        with pytest.raises(ValueError, match="needs an error_code"):
            producer.play(enqueue(producer), state)

    def test_takes_no_error_code_with_success(self, producer: FakeProducer) -> None:
        with pytest.raises(ValueError, match="has no error_code"):
            producer.play(enqueue(producer), State.SUCCEEDED, error_code="InternalErrorException")

    @pytest.mark.parametrize("first", ["succeeded", "superseded", "expired"])
    def test_an_outcome_is_final(self, producer: FakeProducer, first: str) -> None:
        command_id = enqueue(producer, command_id="c-1")
        producer.play(command_id, first)
        for next_state in State:
            with pytest.raises(ValueError, match=r"c-1 has its outcome|needs an error_code"):
                producer.play(command_id, next_state)

    def test_only_commands_of_incidents_are_cancelled(self, producer: FakeProducer) -> None:
        with pytest.raises(ValueError, match="of an incident"):
            producer.play(enqueue(producer), State.CANCELLED)


class TestPlayAll:
    def test_is_for_those_that_were_and_those_that_will_be(self, producer: FakeProducer) -> None:
        before = enqueue(producer)
        producer.play_all(State.SUCCEEDED, username="ada")
        states = [producer.lookup(each) for each in (before, enqueue(producer), enqueue(producer, "eve"))]
        assert [record and record.state.value for record in states] == ["succeeded", "succeeded", "queued"]

    def test_leaves_outcomes_alone(self, producer: FakeProducer) -> None:
        command_id = enqueue(producer)
        producer.play(command_id, State.EXPIRED)
        producer.play_all(State.SUCCEEDED)
        record = producer.lookup(command_id)
        assert record is not None
        assert record.state is State.EXPIRED

    def test_the_last_that_fits_counts(self, producer: FakeProducer) -> None:
        producer.play_all(State.SUCCEEDED)
        producer.play_all(State.EXPIRED, username="eve")
        records = [producer.lookup(enqueue(producer, name)) for name in ("ada", "eve")]
        assert [record and record.state.value for record in records] == ["succeeded", "expired"]

    def test_is_checked_at_once(self, producer: FakeProducer) -> None:
        with pytest.raises(TypeError, match="has no user"):
            producer.play_all(State.SUCCEEDED, user="ada")
        with pytest.raises(ValueError, match="needs an error_code"):
            producer.play_all(State.DEAD_LETTERED)


class TestFail:
    def test_once(self, producer: FakeProducer) -> None:
        producer.fail(LedgerUnavailableError)
        with pytest.raises(LedgerUnavailableError):
            enqueue(producer, command_id="c-1")
        assert producer.lookup("c-1") is None
        enqueue(producer)

    def test_until_told_otherwise(self, producer: FakeProducer) -> None:
        producer.fail(PublishError, times=None)
        for _ in range(5):
            with pytest.raises(PublishError):
                enqueue(producer)
        producer.recover()
        enqueue(producer)

    def test_after_some_calls(self, producer: FakeProducer) -> None:
        producer.fail(PublishError, after=1)
        many = [wire_object(device_key=device(number)) for number in range(1500)]
        with pytest.raises(PublishError) as caught:
            producer.enqueue_many(many)
        assert caught.value.report is not None
        assert (caught.value.report.accepted, len(caught.value.command_ids)) == (1000, 500)
        assert len(producer.sent) == 1000

    def test_takes_what_a_server_that_is_away_causes(self, producer: FakeProducer) -> None:
        with pytest.raises(TypeError, match="LedgerUnavailableError or PublishError"):
            producer.fail(ValueError)  # type: ignore[arg-type]

    def test_errors_hold_no_name(self, producer: FakeProducer) -> None:
        for error in (LedgerUnavailableError, PublishError):
            producer.fail(error)
            with pytest.raises(error) as caught:
                producer.enqueue(wire_object())
            assert USERNAME not in str(caught.value)


class TestIncidents:
    def test_opened_holds_the_calls(self, incidents: FakeIncidents) -> None:
        incidents.open(
            "INC-1",
            user_pool_id=POOL,
            users=iter(["ada"]),
            devices=iter([("eve", device(1))]),
            status="remembered",
            urgent=True,
            reason="stolen",
        )
        (opened,) = incidents.opened
        assert (opened.incident_id, opened.user_pool_id) == ("INC-1", POOL)
        assert (opened.users, opened.devices) == (("ada",), (("eve", device(1)),))
        assert (opened.status, opened.urgent, opened.reason) == ("remembered", True, "stolen")

    def test_a_call_that_fails_is_not_held(self, incidents: FakeIncidents) -> None:
        incidents.fail(LedgerUnavailableError)
        with pytest.raises(LedgerUnavailableError):
            incidents.open("INC-1", user_pool_id=POOL)
        assert incidents.opened == []

    def test_each_look_takes_a_step(self, incidents: FakeIncidents) -> None:
        incidents.play("INC-1", devices=4)
        incidents.play("INC-1", succeeded=1, trouble="AccessDeniedException")
        incidents.finish("INC-1", dead_lettered=1)
        incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        looks = [incidents.progress("INC-1") for _ in range(4)]
        assert [(each.phase.value, each.open, each.succeeded, each.dead_lettered) for each in looks] == [
            ("running", 4, 0, 0),
            ("running", 3, 1, 0),
            ("ended", 0, 3, 1),
            ("ended", 0, 3, 1),
        ]
        assert [each.trouble for each in looks] == [None, "AccessDeniedException", None, None]

    def test_a_plan_without_an_id_is_for_each(self, incidents: FakeIncidents) -> None:
        incidents.finish(superseded=1)
        incidents.finish("INC-2", succeeded=5)
        for name in ("INC-1", "INC-2", "INC-3"):
            incidents.open(name, user_pool_id=POOL, users=["ada"])
        ends = [incidents.wait(name) for name in ("INC-1", "INC-2", "INC-3")]
        assert [(each.succeeded, each.superseded) for each in ends] == [(0, 1), (5, 0), (0, 1)]

    def test_finish_without_counts_lets_all_succeed(self, incidents: FakeIncidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        incidents.finish("INC-1")
        end = incidents.wait("INC-1")
        assert end.all_succeeded
        assert (end.devices, end.succeeded, end.users_expanded) == (2, 2, 2)

    def test_finish_with_no_devices(self, incidents: FakeIncidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        incidents.finish("INC-1", devices=0)
        end = incidents.wait("INC-1")
        assert (end.is_over, end.devices, end.users_no_devices) == (True, 0, 2)

    def test_counts_always_add_up(self, incidents: FakeIncidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada", "eve"], devices=[("bob", device(1))])
        incidents.play("INC-1", devices=3, expired=1)
        incidents.play("INC-1", dead_lettered=1, superseded=1)
        incidents.finish("INC-1")
        for _ in range(4):
            now = incidents.progress("INC-1")
            outcomes = now.succeeded + now.superseded + now.expired + now.dead_lettered + now.cancelled
            assert now.devices == now.open + outcomes
            # The third, bob, was given with his device.
            assert now.users == 1 + now.users_open + now.users_expanded + now.users_no_devices == 3

    @pytest.mark.parametrize(
        "step",
        [
            {"devices": 1, "succeeded": 2},
            {"users_dead_lettered": 3},
            {"devices": 1, "users_no_devices": 0},
            {"devices": 1, "users_no_devices": 2},
            {"users_no_devices": 3},
        ],
    )
    def test_a_step_that_can_not_be_is_a_mistake(
        self, incidents: FakeIncidents, step: dict[str, int]
    ) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada", "grace"])
        incidents.finish("INC-1", **step)
        with pytest.raises(ValueError, match=r"^INC-1 has "):
            incidents.progress("INC-1")

    def test_no_time_passes(self, incidents: FakeIncidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        assert incidents.wait("INC-1", timeout=1e9).phase == "running"
        incidents.finish("INC-1")
        assert incidents.wait("INC-1", timeout=1e9).is_over
        incidents.verify("INC-1")
        now = incidents.wait_for_verification("INC-1", timeout=1e9)
        assert now.verification is not None
        assert now.verification.ended_at is None

    def test_what_would_never_end_is_a_mistake(self, incidents: FakeIncidents) -> None:
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        with pytest.raises(AssertionError, match=r"let the test call finish\('INC-1'\) first"):
            incidents.wait("INC-1")
        incidents.finish("INC-1")
        incidents.wait("INC-1")
        incidents.verify("INC-1")
        with pytest.raises(AssertionError, match=r"let the test call play_verification\('INC-1'\) first"):
            incidents.wait_for_verification("INC-1")

    def test_clear_forgets(self, incidents: FakeIncidents) -> None:
        incidents.finish()
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        incidents.clear()
        assert (incidents.opened, list(incidents.list())) == ([], [])
        incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
        assert incidents.wait("INC-1", timeout=0).phase == "running"


class TestPatched:
    def test_takes_the_calls_of_what_was_made_before(self, settings: Settings) -> None:
        """On a server that answers: nothing of it may be seen there."""
        producer, incidents, ledger = Producer(settings), Incidents(settings), Ledger(settings.ledger)
        enqueue(producer, command_id="real")
        with patched() as fakes:
            enqueue(producer, command_id="fake")
            incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
            assert producer.lookup("real") is None
            assert [each.command.command_id for each in fakes.producer.sent] == ["fake"]
            assert fakes.incidents.progress("INC-1").users == 1
        assert ledger.lookup("fake") is None
        assert list(incidents.list()) == []
        assert producer.lookup("real") is not None

    @pytest.mark.parametrize(
        "call",
        [
            lambda settings: DeadLetters(settings).count_by_error(),
            lambda settings: list(DeadLetters(settings).list()),
            lambda settings: DeadLetters(settings).purge(),
            lambda settings: Ledger(settings.ledger).lookup("c-1"),
            lambda settings: Publisher(settings.broker_url).ping(),
        ],
    )
    def test_nothing_else_reaches_a_server(
        self, settings: Settings, call: Callable[[Settings], object]
    ) -> None:
        call(settings)
        with patched(), pytest.raises(DeviceStatusError, match=r"device_status\.testing\.worker\(\)$"):
            call(settings)
        call(settings)

    def test_not_even_over_a_connection_that_is_open(self, settings: Settings) -> None:
        letters = DeadLetters(settings)
        letters.count_by_error()
        with patched(), pytest.raises(DeviceStatusError, match="would reach a server"):
            letters.count_by_error()
        assert letters.count_by_error() == {}

    def test_settings_lead_nowhere_and_keep_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEVICE_STATUS_BROKER_URL", "amqp://production.example//")
        monkeypatch.setenv("DEVICE_STATUS_LEDGER_URL", "redis://production.example")
        monkeypatch.setenv("DEVICE_STATUS_UPDATE_QUOTA", "7")
        with patched():
            settings = load_settings()
            assert settings.update_quota == 7
            for url in (settings.broker_url, settings.ledger):
                assert url == "redis://device-status.invalid:6379/0"
        assert os.environ["DEVICE_STATUS_BROKER_URL"] == "amqp://production.example//"
        assert os.environ["DEVICE_STATUS_LEDGER_URL"] == "redis://production.example"

    def test_contexts_may_be_nested(self) -> None:
        with patched() as outer:
            with patched() as inner:
                enqueue(Producer(), "ada")
            enqueue(Producer(), "grace")
        assert [each.command.username for each in inner.producer.sent] == ["ada"]
        assert [each.command.username for each in outer.producer.sent] == ["grace"]

    def test_classes_are_as_before(self) -> None:
        before = {cls: dict(vars(cls)) for cls in (Producer, Incidents, Publisher)}
        with pytest.raises(RuntimeError), patched():
            raise RuntimeError
        assert {cls: dict(vars(cls)) for cls in before} == before

    def test_a_worker_can_not_be_started_meanwhile(self, fakes: Fakes) -> None:
        with pytest.raises(DeviceStatusError, match="while the fakes are in use"):
            worker()

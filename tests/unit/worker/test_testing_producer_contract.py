"""`FakeProducer` does what `Producer` does on a real server: each scenario here runs on both."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status import (
    DeadLetters,
    DeviceStatusCommand,
    EnqueueReport,
    IdempotencyConflictError,
    InvalidCommandError,
    Lane,
    LedgerUnavailableError,
    Producer,
    PublishError,
    Record,
    Settings,
    State,
    load_settings,
)
from device_status.ledger import Ledger
from device_status.outcomes import Claimed
from device_status.publisher import Publisher
from device_status.testing import FakeProducer
from device_status.testing.commands import CommandsInMemory
from support import DEVICE_KEY, USERNAME, device, make_command, wire_object
from support.servers import HOST, Valkey, free_port


class Side(Protocol):
    """A producer, and what a test lets happen around it."""

    producer: Producer

    def bring(self, command: DeviceStatusCommand, state: State, error_code: str | None = None) -> None:
        """Let a worker bring the command there."""

    def lose_ledger(self) -> None:
        """From now on the ledger is away."""

    def lose_broker(self) -> None:
        """From now on the broker is away."""


@dataclass
class Real:
    """On the session's server."""

    settings: Settings
    ledger: Ledger

    def __post_init__(self) -> None:
        self.producer = Producer(self.settings)

    def bring(self, command: DeviceStatusCommand, state: State, error_code: str | None = None) -> None:
        if state is State.QUEUED:
            DeadLetters(self.settings).redrive(command.idempotency_key)
            return
        if state is State.SUPERSEDED:
            newer = make_command(issued_at=command.issued_at + timedelta(seconds=1), status="remembered")
            self.producer.enqueue(newer)
            self.bring(newer, State.SUCCEEDED)
        claim = self.ledger.claim(command, Lane.ROUTINE)
        if state in (State.SUPERSEDED, State.EXPIRED, State.CLAIMED):
            return
        assert isinstance(claim, Claimed)
        match state:
            case State.SUCCEEDED:
                self.ledger.succeed(claim, "request")
            case State.DEAD_LETTERED:
                self.ledger.dead_letter(claim, error_code or "", "why", "request")
            case State.RETRY_WAIT:
                self.ledger.retry(claim, 60, error_code or "", "why", "request", attempt=True)

    def lose_ledger(self) -> None:
        away = f"redis://{HOST}:{free_port()}/0"
        self.producer = Producer(load_settings(broker_url=self.settings.broker_url, ledger_url=away))

    def lose_broker(self) -> None:
        away = f"redis://{HOST}:{free_port()}/0"
        self.producer = Producer(load_settings(broker_url=away, ledger_url=self.settings.ledger))


class Fake:
    """In memory."""

    def __init__(self) -> None:
        self.fake = FakeProducer()
        self.producer: Producer = self.fake

    def bring(self, command: DeviceStatusCommand, state: State, error_code: str | None = None) -> None:
        self.fake.play(command, state, error_code=error_code, error_message="why" if error_code else None)

    def lose_ledger(self) -> None:
        self.fake.fail(LedgerUnavailableError, times=None)

    def lose_broker(self) -> None:
        self.fake.fail(PublishError, times=None)


@pytest.fixture(params=["real", "fake"])
def side(request: pytest.FixtureRequest) -> Side:
    if request.param == "fake":
        return Fake()
    return Real(request.getfixturevalue("settings"), request.getfixturevalue("ledger"))


def known(record: Record | None) -> dict[str, Any]:
    """What a record says, without what differs from run to run."""
    assert record is not None
    return {
        "state": record.state.value,
        "attempts": record.attempts,
        "error": (record.error_code, record.error_message),
        "has_request_id": record.request_id is not None,
        "is_finished": record.finished_at is not None,
    }


class TestEnqueue:
    def test_a_command_is_queued(self, side: Side) -> None:
        began_at = datetime.now(UTC) - timedelta(seconds=1)
        command_id = side.producer.enqueue(wire_object(command_id="c-1"), lane="urgent")
        record = side.producer.lookup("c-1")
        assert record is not None
        assert (command_id, record.command_id, record.lane) == ("c-1", "c-1", Lane.URGENT)
        assert began_at < record.entered_at < datetime.now(UTC) + timedelta(seconds=1)
        assert record.command is not None
        assert (record.command.username, record.command.device_key) == (USERNAME, DEVICE_KEY)
        assert known(record) == {
            "state": "queued",
            "attempts": 0,
            "error": (None, None),
            "has_request_id": False,
            "is_finished": False,
        }

    def test_nothing_is_known_of_another(self, side: Side) -> None:
        assert side.producer.lookup("never") is None

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"status": "forgotten"}, "status: is not one of the allowed values; the rule is "),
            ({"username": ...}, "username: is missing; it is required"),
            ({"command_id": "incident:INC-1:0"}, "command_id: begins with incident: or repair: or user:"),
            ({"idempotency_key": "user:1"}, "idempotency_key: begins with incident: or repair: or user:"),
        ],
    )
    def test_what_breaks_the_contract_is_refused(self, side: Side, fields: dict[str, Any], text: str) -> None:
        with pytest.raises(InvalidCommandError) as caught:
            side.producer.enqueue(wire_object(**fields))
        assert str(caught.value).startswith(text)

    def test_a_command_and_fields_do_not_go_together(self, side: Side) -> None:
        with pytest.raises(InvalidCommandError, match="given whole and as fields"):
            side.producer.enqueue(make_command(), username="ada")

    def test_an_unknown_lane_is_refused(self, side: Side) -> None:
        with pytest.raises(InvalidCommandError, match=r"^lane: is not one of the allowed values"):
            side.producer.enqueue(make_command(), lane="express")

    def test_asyncio(self, side: Side) -> None:
        import asyncio

        async def publish() -> tuple[str, EnqueueReport, Record | None]:
            command_id = await side.producer.aenqueue(make_command(command_id="c-1"))
            report = await side.producer.aenqueue_many([wire_object(command_id="c-2")])
            return command_id, report, await side.producer.alookup("c-2")

        command_id, report, record = asyncio.run(publish())
        assert (command_id, report.accepted, known(record)["state"]) == ("c-1", 1, "queued")


class TestRepeating:
    def test_the_same_key_is_the_same_command(self, side: Side) -> None:
        side.producer.enqueue(wire_object(command_id="c-1", idempotency_key="k"))
        side.producer.enqueue(wire_object(command_id="c-2", idempotency_key="k"), lane="bulk")
        first, second, by_key = map(side.producer.lookup, ("c-1", "c-2", "k"))
        assert first is not None
        assert first == second == by_key
        assert (first.command_id, first.lane) == ("c-1", Lane.ROUTINE)

    def test_other_content_is_an_error_and_leaves_no_trace(self, side: Side) -> None:
        side.producer.enqueue(wire_object(command_id="c-1", idempotency_key="k", issued_at=EPOCH.isoformat()))
        with pytest.raises(IdempotencyConflictError, match="other content, c-1, which is queued") as caught:
            side.producer.enqueue(wire_object(command_id="c-2", idempotency_key="k", username="eve"))
        error = caught.value
        assert (error.command_id, error.state, error.issued_at) == ("c-1", State.QUEUED, EPOCH)
        assert known(side.producer.lookup("c-1"))["state"] == "queued"
        assert side.producer.lookup("c-2") is None

    def test_a_closed_one_connects_again(self, side: Side) -> None:
        with side.producer as producer:
            producer.enqueue(make_command(command_id="c-1"))
        side.producer.close()
        assert known(side.producer.lookup("c-1"))["state"] == "queued"

    def test_many_are_counted(self, side: Side) -> None:
        commands = [
            wire_object(command_id="c-1"),
            wire_object(command_id="c-1"),
            wire_object(command_id="c-1", status="remembered"),
            wire_object(device_key="no key"),
            wire_object(command_id="c-2", device_key=device(2)),
        ]
        seen: list[int] = []
        report = side.producer.enqueue_many(commands, on_progress=seen.append)
        assert (report.accepted, report.repeated, seen) == (3, 1, [5])
        assert [refusal.index for refusal in report.refused] == [3, 2]
        assert report.refused[1].reason == "idempotency_key: belongs to a command with other content"
        assert report.refused[0].reason.startswith("device_key: ")
        record = side.producer.lookup("c-2")
        assert record is not None
        assert record.lane is Lane.BULK

    def test_a_command_with_an_outcome_keeps_it(self, side: Side) -> None:
        command = make_command()
        side.producer.enqueue(command)
        side.bring(command, State.SUCCEEDED)
        report = side.producer.enqueue_many([command])
        assert (report.accepted, report.repeated) == (1, 1)
        assert known(side.producer.lookup(command.command_id))["state"] == "succeeded"

    @pytest.mark.parametrize("error", [ValueError("the source broke"), KeyboardInterrupt()])
    def test_an_error_of_the_iterable_comes_through(self, side: Side, error: BaseException) -> None:
        def commands() -> Any:
            yield wire_object(command_id="c-1")
            raise error

        with pytest.raises(type(error)):
            side.producer.enqueue_many(commands())
        # Ctrl-C ends it at once; of an ordinary error, what came before is enqueued.
        assert (side.producer.lookup("c-1") is not None) == isinstance(error, ValueError)


DEAD = ("UserNotFoundException", "why")
BUSY = ("InternalErrorException", "why")


class TestOutcomes:
    @pytest.mark.parametrize(
        ("path", "attempts", "error", "has_request_id"),
        [
            ([("claimed", None)], 0, (None, None), False),
            ([("succeeded", None)], 1, (None, None), True),
            ([("dead_lettered", DEAD[0])], 1, DEAD, True),
            ([("retry_wait", BUSY[0])], 1, BUSY, True),
            ([("retry_wait", BUSY[0]), ("succeeded", None)], 2, (None, None), True),
            ([("retry_wait", BUSY[0]), ("dead_lettered", DEAD[0])], 2, DEAD, True),
            ([("retry_wait", BUSY[0]), ("claimed", None)], 1, BUSY, True),
            ([("dead_lettered", DEAD[0]), ("queued", None)], 0, (None, None), False),
            ([("dead_lettered", DEAD[0]), ("queued", None), ("succeeded", None)], 1, (None, None), True),
        ],
    )
    def test_are_looked_up(
        self,
        side: Side,
        path: list[tuple[str, str | None]],
        attempts: int,
        error: tuple[str | None, str | None],
        has_request_id: bool,
    ) -> None:
        command = make_command()
        side.producer.enqueue(command)
        for state, code in path:
            side.bring(command, State(state), code)
        last = path[-1][0]
        assert known(side.producer.lookup(command.command_id)) == {
            "state": last,
            "attempts": attempts,
            "error": error,
            "has_request_id": has_request_id,
            "is_finished": last in ("succeeded", "dead_lettered"),
        }

    @pytest.mark.parametrize("state", [State.SUPERSEDED, State.EXPIRED])
    def test_without_a_call_there_is_no_attempt(self, side: Side, state: State) -> None:
        past = datetime.now(UTC) - timedelta(minutes=1)
        command = make_command(issued_at=past, **({"expires_at": past} if state is State.EXPIRED else {}))
        side.producer.enqueue(command)
        side.bring(command, state)
        assert known(side.producer.lookup(command.command_id)) == {
            "state": state.value,
            "attempts": 0,
            "error": (None, None),
            "has_request_id": False,
            "is_finished": True,
        }


class TestServersThatAreAway:
    def test_a_ledger_that_is_away(self, side: Side) -> None:
        side.lose_ledger()
        calls: list[Callable[[], object]] = [
            lambda: side.producer.enqueue(make_command()),
            lambda: side.producer.enqueue_many([make_command()]),
            lambda: side.producer.lookup("c-1"),
        ]
        for call in calls:
            with pytest.raises(LedgerUnavailableError, match="repeat the call with the same command"):
                call()

    def test_a_broker_that_is_away(self, side: Side) -> None:
        side.lose_broker()
        command = make_command(command_id="c-1")
        with pytest.raises(PublishError, match="the ledger holds the command") as caught:
            side.producer.enqueue(command)
        assert (caught.value.command_ids, caught.value.report) == (["c-1"], None)
        assert known(side.producer.lookup("c-1"))["state"] == "queued"

    def test_many_and_a_broker_that_is_away(self, side: Side) -> None:
        side.lose_broker()
        with pytest.raises(PublishError) as caught:
            side.producer.enqueue_many([wire_object(command_id="c-1"), wire_object(username="")])
        assert caught.value.command_ids == ["c-1"]
        assert caught.value.report is not None
        assert (caught.value.report.accepted, len(caught.value.report.refused)) == (0, 1)


IDS = ("a", "b", "c")
Fields = tuple[str, str | None, str, int]
commands = st.tuples(
    st.sampled_from(IDS),
    st.sampled_from((None, *IDS)),
    st.sampled_from(("remembered", "not_remembered")),
    st.integers(1, 2),
)


class TestAnyOrder:
    @given(batches=st.lists(st.lists(commands, min_size=1, max_size=4), max_size=4), outcome=st.booleans())
    def test_fake_and_real_agree(self, valkey: Valkey, batches: list[list[Fields]], outcome: bool) -> None:
        """Whatever ids, keys and contents come together, in whatever order."""
        valkey.flush()
        settings = load_settings(broker_url=valkey.url)
        real, fake, done = Real(settings, Ledger(settings.ledger)), Fake(), set[str]()
        for batch in batches:
            made = [
                make_command(
                    command_id=command_id,
                    idempotency_key=key or command_id,
                    status=status,
                    device_key=device(n),
                )
                for command_id, key, status, n in batch
            ]
            assert real.producer.enqueue_many(made) == fake.producer.enqueue_many(made)
            if outcome:
                self._succeed_the_first(made, real, fake, done)
            for name in IDS:
                ours, theirs = real.producer.lookup(name), fake.producer.lookup(name)
                assert (ours is None) == (theirs is None)
                if ours and theirs:
                    assert known(ours) == known(theirs)
                    assert replace(ours, request_id="", entered_at=EPOCH, finished_at=None) == replace(
                        theirs, request_id="", entered_at=EPOCH, finished_at=None
                    )

    def _succeed_the_first(
        self, made: list[DeviceStatusCommand], real: Real, fake: Fake, done: set[str]
    ) -> None:
        record = fake.producer.lookup(made[0].command_id)
        # An older command of a device that is done would be superseded.
        if record and record.command and record.outcome is None and record.command.device_key not in done:
            done.add(record.command.device_key)
            real.bring(record.command, State.SUCCEEDED)
            fake.bring(record.command, State.SUCCEEDED)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def public_methods(cls: type) -> dict[str, inspect.Signature]:
    """By name."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") or name in ("__enter__", "__exit__", "__aenter__", "__aexit__")
    }


class TestSignatures:
    def test_every_public_method_takes_and_returns_the_same(self) -> None:
        ours, theirs = public_methods(FakeProducer), public_methods(Producer)
        assert {name: str(ours[name]) for name in theirs} == {name: str(theirs[name]) for name in theirs}

    def test_scenarios_cover_every_public_method(self) -> None:
        """A new one needs a scenario above, and perhaps a line in the fake."""
        assert set(public_methods(Producer)) == {
            "enqueue",
            "enqueue_many",
            "lookup",
            "aenqueue",
            "aenqueue_many",
            "alookup",
            "close",
            "__enter__",
            "__exit__",
        }

    def test_it_is_a_producer(self) -> None:
        assert isinstance(FakeProducer(), Producer)

    @pytest.mark.parametrize(
        ("real", "name"),
        [(Ledger, "enter"), (Ledger, "enter_members"), (Ledger, "lookup"), (Publisher, "publish")],
    )
    def test_what_stands_in_for_ledger_and_broker_takes_the_same(self, real: type, name: str) -> None:
        def parts(cls: type) -> list[tuple[str, Any]]:
            signature = inspect.signature(getattr(cls, name))
            return [
                *((each.name.lstrip("_"), str(each.annotation)) for each in signature.parameters.values()),
                ("returns", signature.return_annotation),
            ]

        assert parts(CommandsInMemory) == parts(real)

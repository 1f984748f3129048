"""Promises of the intake: what can't become a command is told from what can, and kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from device_status import DeadLetters, Lane, Settings
from device_status.ledger import Ledger
from device_status.outcomes import Conflict
from device_status.publisher import APPLY, Publisher, queue_name
from device_status_worker import process
from device_status_worker.consumer import CheckedConsumer
from device_status_worker.delivery_limit import COUNT, OFTEN
from device_status_worker.intake import (
    MOST_BODY,
    MOST_ENVELOPE,
    MOST_RAW,
    Intake,
    envelope_problem,
    message_problem,
    plain_headers,
)
from device_status_worker.reception import Reception
from support import DEVICE_KEY, USERNAME, wire_object
from support.clock import let_time_pass, server_ms
from support.messages import BAD_MESSAGES, body_of, envelope, parts_of
from support.servers import HOST, free_port

GOOD = envelope(body_of({"command": wire_object()}))
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def names(code: str) -> list[str]:
    return [name for name, make in BAD_MESSAGES.items() if make("x").code == code]


class TestChecks:
    @pytest.mark.parametrize("name", names("MalformedEnvelope"))
    def test_an_envelope_that_kombu_cannot_read_has_a_problem(self, name: str) -> None:
        assert envelope_problem(BAD_MESSAGES[name]("marker").raw)

    @pytest.mark.parametrize("name", names("MalformedMessage"))
    def test_a_message_that_celery_cannot_run_has_a_problem(self, name: str) -> None:
        raw = BAD_MESSAGES[name]("marker").raw
        assert envelope_problem(raw) is None
        code, reason = message_problem(*parts_of(raw)) or ("", "")
        assert code == "MalformedMessage"
        assert reason

    def test_a_good_message_has_none(self) -> None:
        assert envelope_problem(GOOD) is None
        assert message_problem(*parts_of(GOOD)) is None

    @pytest.mark.parametrize(
        ("task", "keywords"),
        [
            ("device_status.apply", {"command": {}}),
            ("device_status.apply_many", {"commands": []}),
            ("device_status.mark", {"mark": 1, "lane": "bulk"}),
        ],
    )
    def test_each_task_of_ours_is_known(self, task: str, keywords: dict[str, Any]) -> None:
        assert message_problem(*parts_of(envelope(body_of(keywords), task=task))) is None

    def test_sizes_are_bounded_to_the_byte(self) -> None:
        body = body_of({"command": {"reason": ""}})
        longest = body.replace(b'""', b'"' + b"x" * (MOST_BODY - len(body)) + b'"')
        assert len(longest) == MOST_BODY
        assert message_problem(*parts_of(envelope(longest))) is None
        assert message_problem(*parts_of(envelope(longest + b" ")))
        padded = GOOD + b" " * (MOST_ENVELOPE - len(GOOD))
        assert envelope_problem(padded) is None
        assert envelope_problem(padded + b" ")

    @given(st.binary(max_size=200))
    def test_any_bytes_are_judged(self, raw: bytes) -> None:
        assert envelope_problem(raw)

    @given(st.data())
    @settings(max_examples=300)
    def test_any_change_of_a_message_is_judged(self, data: st.DataObject) -> None:
        message = json.loads(GOOD)
        part = data.draw(st.sampled_from([message, message["headers"], message["properties"]]))
        part[data.draw(st.sampled_from(sorted(part)))] = data.draw(json_values)
        raw = json.dumps(message).encode()
        if envelope_problem(raw) is None:
            message_problem(*parts_of(raw))  # Says something, and does not raise.

    @given(json_values, json_values, json_values, json_values)
    @example({"task": "device_status.apply", "id": "1"}, "application/json", "utf-8", "[[], {}, {}]")
    def test_any_parts_are_judged(self, headers: Any, content_type: Any, encoding: Any, body: Any) -> None:
        # Text of a body that is no command; none of these can be one by chance.
        assert message_problem(headers, content_type, encoding, body) is not None

    def test_celery_sees_no_header_of_the_senders_but_task_and_id(self) -> None:
        sent = {"task": "device_status.apply", "id": "1", "argsrepr": USERNAME, "retries": 99, "group": "g"}
        headers = plain_headers(sent)
        assert (headers["task"], headers["id"]) == ("device_status.apply", "1")
        assert USERNAME not in str(headers)
        assert headers["retries"] == 0
        assert headers["group"] is None


@pytest.fixture
def intake(ledger: Ledger) -> Intake:
    return Intake(ledger)


@pytest.fixture
def letters(settings: Settings) -> DeadLetters:
    return DeadLetters(settings)


class TestWhatIsLeftOut:
    """An id and a time come from the message, so that it is the same command when it is delivered again."""

    @pytest.mark.parametrize(
        "left_out", [["command_id"], ["issued_at"], ["command_id", "issued_at"], ["idempotency_key"], []]
    )
    def test_delivered_again_it_is_the_same_command(self, left_out: list[str], intake: Intake) -> None:
        given = {"command_id": "one", "idempotency_key": "two", "issued_at": "2026-05-04T03:02:01Z"}
        fields = wire_object(**{name: value for name, value in given.items() if name not in left_out})
        first = intake.accept(fields, Lane.ROUTINE, "message/0")
        assert first is not None
        assert {name: first.to_wire()[name] for name in given if name not in left_out} == {
            name: value for name, value in given.items() if name not in left_out
        }
        assert intake.accept(dict(reversed(fields.items())), Lane.ROUTINE, "message/0") == first

    def test_without_a_key_it_is_its_id(self, intake: Intake) -> None:
        command = intake.accept(wire_object(), Lane.ROUTINE, "message/0")
        assert command is not None
        assert command.idempotency_key == command.command_id
        assert len(command.command_id) < 64

    def test_the_time_is_that_of_the_first_receipt_on_the_ledgers_clock(
        self, intake: Intake, ledger: Ledger
    ) -> None:
        before = server_ms(ledger.redis)
        first = intake.accept(wire_object(), Lane.ROUTINE, "message/0")
        assert first is not None
        assert before <= first.issued_at.timestamp() * 1000 < server_ms(ledger.redis) + 1
        (key,) = ledger.redis.keys("device-status:received:*")
        left = ledger.redis.pttl(key) / 1000
        assert left == pytest.approx(2 * ledger.retention.total_seconds(), abs=60)

    def test_of_one_message_the_later_command_is_the_newer(self, intake: Intake) -> None:
        fields = wire_object()
        commands = [intake.accept(fields, Lane.ROUTINE, f"message/{index}") for index in range(10)]
        found = [(command.issued_at, command.command_id) for command in commands if command]
        assert found == sorted(found, key=lambda pair: pair[0])
        assert len({issued_at for issued_at, _ in found}) == len({name for _, name in found}) == 10

    def test_two_messages_of_one_id_are_a_conflict_and_not_a_repeat(
        self, intake: Intake, ledger: Ledger, letters: DeadLetters
    ) -> None:
        first = intake.accept(wire_object(status="remembered"), Lane.ROUTINE, "message/0")
        other = intake.accept(wire_object(status="not_remembered"), Lane.ROUTINE, "message/0")
        assert first is not None
        assert other is not None
        assert ledger.enter([first, other], Lane.ROUTINE) == [None, Conflict()]
        assert [letter.command for letter in letters.list()] == [other]

    def test_two_messages_of_one_id_with_ids_of_their_own_keep_a_time_each(self, intake: Intake) -> None:
        first = intake.accept(wire_object(command_id="one"), Lane.ROUTINE, "message/0")
        other = intake.accept(wire_object(command_id="two"), Lane.ROUTINE, "message/0")
        assert first is not None
        assert other is not None
        assert first.issued_at < other.issued_at

    def test_nothing_is_kept_of_a_command_that_says_all_itself(self, intake: Intake, ledger: Ledger) -> None:
        fields = wire_object(command_id="one", issued_at="2026-05-04T03:02:01Z")
        assert intake.accept(fields, Lane.ROUTINE, "message/0") is not None
        assert intake.accept(wire_object(status="forgotten"), Lane.ROUTINE, "message/1") is None
        assert ledger.redis.keys("device-status:received:*") == []


class TestBurial:
    def test_a_command_is_accepted_and_nothing_buried(self, intake: Intake, letters: DeadLetters) -> None:
        command = intake.accept(wire_object(), Lane.ROUTINE, "message/0")
        assert command is not None
        assert command.username == USERNAME
        assert list(letters.list()) == []

    @pytest.mark.parametrize(
        ("fields", "code", "reason"),
        [
            (wire_object(status=...), "MalformedCommand", "status"),
            (wire_object(status="gone"), "MalformedCommand", "status"),
            (wire_object(schema_version=2), "UnsupportedSchema", "schema_version"),
            (wire_object(schema_version="2"), "MalformedCommand", "schema_version"),
            ([1], "MalformedCommand", ""),
            (None, "MalformedCommand", ""),
            ("\ud800", "MalformedCommand", ""),
        ],
    )
    def test_what_is_no_command_is_kept_with_the_reason_and_without_its_values(
        self, fields: Any, code: str, reason: str, intake: Intake, letters: DeadLetters
    ) -> None:
        assert intake.accept(fields, Lane.URGENT, "message/0") is None
        (letter,) = letters.list()
        assert (letter.error_code, letter.queue) == (code, queue_name(Lane.URGENT))
        assert json.loads(letter.raw or "") == fields
        assert reason in letter.error_message
        assert USERNAME not in letter.error_message
        assert DEVICE_KEY not in letter.error_message

    def test_a_message_that_is_delivered_twice_is_buried_once(
        self, intake: Intake, letters: DeadLetters
    ) -> None:
        for place in ("message/0", "message/0", "message/1"):
            intake.accept({}, Lane.BULK, place)
        assert len(list(letters.list())) == 2
        assert letters.count_by_error() == {"MalformedCommand": 2}

    def test_delivered_again_it_stays_as_old_as_it_is(
        self, intake: Intake, ledger: Ledger, letters: DeadLetters
    ) -> None:
        intake.accept({}, Lane.BULK, "message/0")
        let_time_pass(ledger.redis, 3600)
        before = list(letters.list())
        intake.accept({}, Lane.BULK, "message/0")
        assert list(letters.list()) == before

    def test_without_a_place_each_is_buried(self, intake: Intake, letters: DeadLetters) -> None:
        for _ in range(2):
            intake.bury("MalformedEnvelope", "why", b"raw", queue_name(Lane.BULK))
        assert len(list(letters.list())) == 2

    def test_raw_bytes_are_bounded_and_the_reason_says_so(self, intake: Intake, letters: DeadLetters) -> None:
        intake.bury("MalformedEnvelope", "why", b"x" * (MOST_RAW + 1), queue_name(Lane.BULK))
        (letter,) = letters.list()
        assert letter.raw == "x" * MOST_RAW
        assert str(MOST_RAW + 1) in letter.error_message

    def test_bytes_that_are_no_text_stay_readable(self, intake: Intake, letters: DeadLetters) -> None:
        intake.bury("MalformedEnvelope", "why", b"a\xff\x00b", queue_name(Lane.BULK))
        (letter,) = letters.list()
        assert letter.raw == "a\\xff\x00b"


def test_a_connection_lost_while_a_bad_message_is_acknowledged_ends_no_worker(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost:
        no_ack_consumers = None

        def basic_ack(self, *_: Any, **__: Any) -> None:
            raise ConnectionResetError("the broker is away")

    monkeypatch.setattr(process, "intake", lambda: Intake(ledger))
    to_do: SimpleQueue[Callable[[], None]] = SimpleQueue()
    ours = CheckedConsumer.__new__(CheckedConsumer)
    ours._reception = Reception(lambda message: None, to_do.put, counts_deliveries=True)
    message = kombu.Message(body=b"bad", delivery_tag="tag", delivery_info={}, channel=Lost())
    ours.on_decode_error(message, ValueError())
    to_do.get(timeout=10)()
    assert [letter.raw for letter in DeadLetters(settings).list()] == ["bad"]


def test_what_a_lost_connection_delivered_is_neither_buried_nor_acknowledged(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "intake", lambda: Intake(ledger))
    to_do: SimpleQueue[Callable[[], None]] = SimpleQueue()
    lost, ours = (Reception(lambda message: None, to_do.put, counts_deliveries=True) for _ in range(2))
    lost.close()
    for each, body in ((lost, b"lost"), (ours, b"ours")):
        channel = SimpleNamespace(no_ack_consumers=None, basic_ack=lambda *_, **__: None)
        message = kombu.Message(body=body, delivery_tag="tag", delivery_info={}, channel=channel)
        each.bury(message, "MalformedMessage", "why")
    to_do.get(timeout=10)()
    assert to_do.empty()
    assert [letter.raw for letter in DeadLetters(settings).list()] == ["ours"]


def delivered(headers: dict[str, Any], *, body: bytes = b"bad", tag: int) -> kombu.Message:
    """As RabbitMQ delivers it, whose tag is a count of deliveries."""
    return kombu.Message(
        body=body,
        delivery_tag=tag,
        delivery_info={"routing_key": queue_name(Lane.BULK)},
        headers=headers,
        properties={"application_headers": headers, "delivery_mode": 2},
        channel=SimpleNamespace(no_ack_consumers=None, basic_ack=lambda *_, **__: None),
    )


def test_on_rabbitmq_too_a_message_that_comes_again_is_buried_once(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "intake", lambda: Intake(ledger))
    to_do: SimpleQueue[Callable[[], None]] = SimpleQueue()
    messages = [
        delivered({"task": "x", "more": {"b": 1, "a": 2}, "id": "a"}, tag=1),
        # RabbitMQ puts them in another order once it has one of its own to add.
        delivered({"id": "a", "more": {"a": 2, "b": 1}, "task": "x", "x-delivery-count": 1}, tag=7),
        delivered({"id": "b"}, tag=8),
        delivered({"id": "a"}, body=b"worse", tag=9),
    ]
    for message in messages:
        Reception(lambda message: None, to_do.put, counts_deliveries=True).receive(message)
    for _ in messages:
        to_do.get(timeout=10)()
    assert sorted(letter.raw or "" for letter in DeadLetters(settings).list()) == ["bad", "bad", "worse"]


def test_a_worker_that_ends_begins_nothing_of_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads take nothing any longer, and Celery would log a traceback."""
    monkeypatch.setattr(process, "stop", threading.Event())
    monkeypatch.setattr(process, "publisher", lambda: Publisher(f"amqp://{HOST}:{free_port()}//"))
    to_do: SimpleQueue[Callable[[], None]] = SimpleQueue()
    begun: list[Any] = []
    ours = CheckedConsumer.__new__(CheckedConsumer)
    ours.blueprint = SimpleNamespace(stop=lambda _: None)
    ours._reception = Reception(begun.append, to_do.put, counts_deliveries=True)
    good = {"id": "a", "task": APPLY, COUNT: OFTEN}
    message = delivered(good, body=body_of({"command": wire_object()}), tag=1)
    message.content_type, message.content_encoding = "application/json", "utf-8"
    ours._reception.receive(message)
    # Its copy could not be published, so it is taken as it is.
    take = to_do.get(timeout=20)
    ours.stop()
    take()
    assert begun == []

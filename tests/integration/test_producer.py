"""Promises of the producer, on a real Valkey, read back with kombu as a worker would."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from device_status import (
    DeadLetters,
    DeviceStatusError,
    IdempotencyConflictError,
    InvalidCommandError,
    Lane,
    LedgerUnavailableError,
    Producer,
    PublishError,
    Refusal,
    Settings,
    State,
    load_settings,
    parse_command,
)
from device_status.ledger import Ledger
from device_status.outcomes import Claimed
from device_status.publisher import MOST_BYTES_A_MESSAGE, MOST_COMMANDS_A_MESSAGE
from support import DEVICE_KEY, USERNAME, device, make_command, wire_object
from support.broker import commands_in, queue_length, take_commands, take_messages
from support.servers import HOST, SilentServer, free_port, start_valkey

BATCH = 1000
"""Commands that `enqueue_many` may hold in memory."""
PASSWORD = "hunter2"


def objects(count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Commands for as many devices."""
    return (wire_object(command_id=f"command-{n}", device_key=device(n)) for n in range(start, start + count))


def settle(ledger: Ledger, commands: list[dict[str, Any]], lane: Lane = Lane.ROUTINE) -> None:
    """Claim and succeed, as a worker would."""
    for fields in commands:
        claim = ledger.claim(parse_command(fields), lane)
        assert isinstance(claim, Claimed)
        ledger.succeed(claim, "request")


class TestOneCommand:
    def test_it_is_in_the_ledger_and_in_the_queue_of_its_lane(
        self, producer: Producer, redis_url: str
    ) -> None:
        command_id = producer.enqueue(wire_object(), lane=Lane.URGENT)
        record = producer.lookup(command_id)
        assert record is not None
        assert (record.state, record.lane, record.outcome) == (State.QUEUED, Lane.URGENT, None)
        assert [command["command_id"] for command in take_commands(redis_url, Lane.URGENT)] == [command_id]

    def test_the_entry_is_there_before_the_message(self, settings: Settings, ledger: Ledger) -> None:
        away = settings.model_copy(update={"broker_url": f"redis://{HOST}:{free_port()}/0"})
        command = make_command()
        with pytest.raises(PublishError):
            Producer(away.model_copy(update={"ledger_url": settings.broker_url})).enqueue(command)
        assert ledger.lookup(command.command_id) is not None

    def test_the_message_is_a_celery_task_with_the_command_as_its_argument(
        self, producer: Producer, redis_url: str
    ) -> None:
        command = make_command(reason="lost phone")
        producer.enqueue(command)
        (message,) = take_messages(redis_url, Lane.ROUTINE)
        assert message.content_type == "application/json"
        assert message.headers["task"] == "device_status.apply"
        assert message.headers["id"] == message.properties["correlation_id"]
        arguments, keyword_arguments, _ = message.decode()
        assert (arguments, list(keyword_arguments)) == ([], ["command"])
        assert parse_command(keyword_arguments["command"]) == command

    def test_personal_data_is_in_the_body_alone(self, producer: Producer, redis_url: str) -> None:
        producer.enqueue(make_command())
        producer.enqueue_many([make_command(), make_command()], lane=Lane.ROUTINE)
        for message in take_messages(redis_url, Lane.ROUTINE):
            outside = json.dumps([message.headers, message.properties, message.delivery_info], default=str)
            assert USERNAME not in outside
            assert DEVICE_KEY not in outside

    def test_two_messages_have_two_task_ids(self, producer: Producer, redis_url: str) -> None:
        for fields in objects(2):
            producer.enqueue(fields)
        first, second = take_messages(redis_url, Lane.ROUTINE)
        assert first.headers["id"] != second.headers["id"]

    @pytest.mark.parametrize("username", ["é€١", "😀", '"\\', "</script>", "a" * 128], ids=ascii)
    def test_any_username_arrives(self, producer: Producer, redis_url: str, username: str) -> None:
        producer.enqueue(wire_object(username=username))
        (command,) = take_commands(redis_url, Lane.ROUTINE)
        assert command["username"] == username

    @pytest.mark.parametrize("lane", list(Lane))
    def test_a_lane_may_be_named_by_its_text(self, producer: Producer, redis_url: str, lane: Lane) -> None:
        producer.enqueue(wire_object(), lane=lane.value)
        assert queue_length(redis_url, lane) == 1

    def test_it_may_be_given_as_its_fields(self, producer: Producer, redis_url: str) -> None:
        producer.enqueue(**wire_object(), lane=Lane.BULK)
        assert queue_length(redis_url, Lane.BULK) == 1

    def test_fields_beside_a_whole_command_are_not_silently_dropped(
        self, producer: Producer, redis_url: str
    ) -> None:
        with pytest.raises(InvalidCommandError, match="give one of them"):
            producer.enqueue(make_command(), status="remembered")  # type: ignore[call-overload]
        assert queue_length(redis_url, Lane.ROUTINE) == 0

    def test_an_invalid_one_leaves_no_trace(self, producer: Producer, ledger: Ledger) -> None:
        with pytest.raises(InvalidCommandError, match="username"):
            producer.enqueue(wire_object(username=""))
        assert ledger.redis.keys("*") == []

    @pytest.mark.parametrize("lane", ["fast", "", None, 1, [], {}])
    def test_an_unknown_lane_leaves_no_trace(self, producer: Producer, ledger: Ledger, lane: Any) -> None:
        with pytest.raises(InvalidCommandError) as caught:
            producer.enqueue(wire_object(), lane=lane)
        assert str(caught.value) == (
            "lane: is not one of the allowed values; the rule is 'urgent', 'routine' or 'bulk'"
        )
        with pytest.raises(InvalidCommandError, match=r"^lane: "):
            producer.enqueue_many([wire_object()], lane=lane)
        assert ledger.redis.keys("*") == []

    def test_what_is_unknown_is_none(self, producer: Producer) -> None:
        assert producer.lookup("no such command") is None


class TestRepeating:
    def test_a_queued_command_is_published_again_since_its_message_may_be_lost(
        self, producer: Producer, redis_url: str, ledger: Ledger
    ) -> None:
        command = make_command()
        assert producer.enqueue(command) == producer.enqueue(command)
        assert queue_length(redis_url, Lane.ROUTINE) == 2
        assert sum(ledger.open_count().values()) == 1

    def test_a_settled_command_is_not(self, producer: Producer, redis_url: str, ledger: Ledger) -> None:
        command = make_command()
        producer.enqueue(command)
        settle(ledger, [command.to_wire()])
        producer.enqueue(command)
        assert queue_length(redis_url, Lane.ROUTINE) == 1

    def test_nor_is_one_that_a_worker_has(self, producer: Producer, redis_url: str, ledger: Ledger) -> None:
        command = make_command()
        producer.enqueue(command)
        ledger.claim(command, Lane.ROUTINE)
        producer.enqueue(command)
        assert queue_length(redis_url, Lane.ROUTINE) == 1


class TestConflicts:
    """The idempotency key belongs to a command with other content."""

    def test_a_key_of_another_command_is_an_error_that_says_what_has_it(
        self, producer: Producer, redis_url: str, ledger: Ledger
    ) -> None:
        first = make_command(command_id="first", idempotency_key="one")
        producer.enqueue(first)
        for state, name in ((State.QUEUED, USERNAME), (State.SUCCEEDED, "grace")):
            if state is State.SUCCEEDED:
                settle(ledger, [first.to_wire()])
            with pytest.raises(IdempotencyConflictError) as caught:
                producer.enqueue(wire_object(idempotency_key="one", status="remembered", username=name))
            error = caught.value
            assert (error.command_id, error.state, error.issued_at) == ("first", state, first.issued_at)
            assert not error.retryable
            assert str(error) == (
                "idempotency_key: belongs to a command with other content, first, which is "
                f"{state}; give another key"
            )
        assert queue_length(redis_url, Lane.ROUTINE) == 1

    def test_the_first_goes_on(self, producer: Producer, ledger: Ledger) -> None:
        first = make_command(command_id="one")
        producer.enqueue(first)
        with pytest.raises(IdempotencyConflictError):
            producer.enqueue(wire_object(command_id="one", status="remembered"))
        assert producer.enqueue(first) == "one"
        settle(ledger, [first.to_wire()])
        record = producer.lookup("one")
        assert record is not None
        assert record.outcome is State.SUCCEEDED

    def test_what_was_reported_is_no_dead_letter(
        self, producer: Producer, settings: Settings, ledger: Ledger
    ) -> None:
        producer.enqueue(wire_object(command_id="first", idempotency_key="one"))
        before = sorted(ledger.redis.keys("*"))
        with pytest.raises(IdempotencyConflictError):
            producer.enqueue(wire_object(command_id="second", idempotency_key="one", status="remembered"))
        second = wire_object(command_id="third", idempotency_key="one", status="remembered")
        assert len(producer.enqueue_many([second]).refused) == 1
        assert list(DeadLetters(settings).list()) == []
        assert producer.lookup("second") is None
        assert sorted(ledger.redis.keys("*")) == before

    def test_asyncio_gets_the_same(self, producer: Producer) -> None:
        producer.enqueue(wire_object(idempotency_key="one"))
        with pytest.raises(IdempotencyConflictError):
            asyncio.run(producer.aenqueue(wire_object(idempotency_key="one", status="remembered")))

    def test_a_first_command_of_another_version_is_named_without_its_time(
        self, producer: Producer, ledger: Ledger
    ) -> None:
        producer.enqueue(wire_object(command_id="first", idempotency_key="one"))
        ledger.redis.hset("device-status:command:one", "command", '{"schema_version":2}')
        with pytest.raises(IdempotencyConflictError) as caught:
            producer.enqueue(wire_object(idempotency_key="one", status="remembered"))
        assert (caught.value.command_id, caught.value.issued_at) == ("first", None)

    def test_an_id_that_would_steer_a_terminal_is_escaped_in_the_text(self, producer: Producer) -> None:
        producer.enqueue(wire_object(command_id="\x1b[2J", idempotency_key="one"))
        with pytest.raises(IdempotencyConflictError) as caught:
            producer.enqueue(wire_object(idempotency_key="one", status="remembered"))
        assert str(caught.value).isprintable()
        assert caught.value.command_id == "\x1b[2J"


class TestManyCommands:
    def test_all_arrive_once_in_chunks_of_fifty_at_most(self, producer: Producer, redis_url: str) -> None:
        report = producer.enqueue_many(objects(5_000))
        assert (report.accepted, report.repeated, report.refused) == (5_000, 0, [])
        messages = take_messages(redis_url, Lane.BULK)
        chunks = [commands_in(message) for message in messages]
        assert {message.headers["task"] for message in messages} == {"device_status.apply_many"}
        assert max(map(len, chunks)) <= MOST_COMMANDS_A_MESSAGE
        assert len(chunks) == 100
        ids = Counter(command["command_id"] for chunk in chunks for command in chunk)
        assert ids == Counter(f"command-{n}" for n in range(5_000))

    def test_a_remainder_of_one_is_a_message_of_one_command(self, producer: Producer, redis_url: str) -> None:
        producer.enqueue_many(objects(51))
        tasks = [message.headers["task"] for message in take_messages(redis_url, Lane.BULK)]
        assert tasks == ["device_status.apply_many", "device_status.apply"]

    def test_nothing_is_nothing(self, producer: Producer, ledger: Ledger) -> None:
        report = producer.enqueue_many([])
        assert (report.accepted, report.refused) == (0, [])
        assert ledger.redis.keys("*") == []

    def test_large_commands_are_split_by_bytes(self, producer: Producer, redis_url: str) -> None:
        producer.enqueue_many(fields | {"reason": "😀" * 1024} for fields in objects(200))
        messages = take_messages(redis_url, Lane.BULK)
        assert sum(len(commands_in(message)) for message in messages) == 200
        for message in messages:
            assert len(json.dumps(commands_in(message), ensure_ascii=False).encode()) < (
                1.05 * MOST_BYTES_A_MESSAGE
            )

    def test_the_bad_are_named_by_their_place_and_the_good_go_on(
        self, producer: Producer, redis_url: str
    ) -> None:
        mixed: list[Any] = list(objects(6))
        mixed[1]["username"] = "two words"
        mixed[3] = "no command at all"
        del mixed[4]["status"]
        report = producer.enqueue_many(mixed)
        assert report.accepted == 3
        assert [(refusal.index, refusal.reason.partition(":")[0]) for refusal in report.refused] == [
            (1, "username"),
            (3, "command"),
            (4, "status"),
        ]
        ids = [command["command_id"] for command in take_commands(redis_url, Lane.BULK)]
        assert ids == ["command-0", "command-2", "command-5"]

    def test_a_refusal_holds_no_personal_data(self, producer: Producer) -> None:
        report = producer.enqueue_many(
            [wire_object(username=f"{USERNAME} "), wire_object(device_key=f"{DEVICE_KEY}!")]
        )
        assert len(report.refused) == 2
        assert USERNAME not in str(report)
        assert DEVICE_KEY not in str(report)

    def test_refusals_in_later_batches_keep_their_place(self, producer: Producer) -> None:
        commands = list(objects(BATCH + 10))
        commands[BATCH + 5]["status"] = "other"
        refused: list[Refusal] = []
        report = producer.enqueue_many(commands, on_refused=refused.append)
        assert [refusal.index for refusal in refused] == [BATCH + 5]
        assert report.refused == []
        assert report.accepted == BATCH + 9

    def test_conflicts_are_refused(self, producer: Producer, redis_url: str) -> None:
        commands = [wire_object(idempotency_key="one", device_key=device(n)) for n in range(3)]
        report = producer.enqueue_many(commands)
        assert report.accepted == 1
        assert [refusal.index for refusal in report.refused] == [1, 2]
        assert all("idempotency_key" in refusal.reason for refusal in report.refused)
        assert len(take_commands(redis_url, Lane.BULK)) == 1

    def test_a_repeat_after_all_is_settled_publishes_nothing(
        self, producer: Producer, redis_url: str, ledger: Ledger
    ) -> None:
        commands = list(objects(120))
        producer.enqueue_many(commands)
        settle(ledger, take_commands(redis_url, Lane.BULK), Lane.BULK)
        report = producer.enqueue_many(commands)
        assert (report.accepted, report.repeated) == (120, 120)
        assert queue_length(redis_url, Lane.BULK) == 0

    def test_they_are_pulled_no_more_than_a_batch_ahead(self, producer: Producer) -> None:
        pulled, ahead = 0, []

        def counted() -> Iterator[dict[str, Any]]:
            nonlocal pulled
            for fields in objects(3 * BATCH + 1):
                pulled += 1
                yield fields

        producer.enqueue_many(counted(), on_progress=lambda seen: ahead.append(pulled - seen))
        assert pulled == 3 * BATCH + 1
        assert len(ahead) == 4
        assert max(ahead) == 0

    @pytest.mark.parametrize("before", [0, 7, BATCH, BATCH + 7])
    def test_those_before_an_error_of_the_iterable_are_enqueued(
        self, before: int, producer: Producer, redis_url: str
    ) -> None:
        seen: list[int] = []

        def commands() -> Iterator[dict[str, Any]]:
            yield from objects(before)
            raise OSError("the database is gone")

        with pytest.raises(OSError, match="the database is gone"):
            producer.enqueue_many(commands(), on_progress=seen.append)
        ids = [command["command_id"] for command in take_commands(redis_url, Lane.BULK)]
        assert ids == [f"command-{number}" for number in range(before)]
        assert (seen or [0])[-1] == before

    def test_progress_is_told_after_each_batch(self, producer: Producer) -> None:
        told: list[int] = []
        producer.enqueue_many(objects(2 * BATCH + 7), on_progress=told.append)
        assert told == [BATCH, 2 * BATCH, 2 * BATCH + 7]


class TestManyAtOnce:
    THREADS, EACH = 16, 50

    def test_threads_share_a_producer(self, producer: Producer, redis_url: str) -> None:
        start = threading.Barrier(self.THREADS)

        def enqueue(number: int) -> list[str]:
            start.wait()
            return [producer.enqueue(fields) for fields in objects(self.EACH, number * self.EACH)]

        with ThreadPoolExecutor(self.THREADS) as threads:
            ids = [command_id for some in threads.map(enqueue, range(self.THREADS)) for command_id in some]
        assert Counter(
            command["command_id"] for command in take_commands(redis_url, Lane.ROUTINE)
        ) == Counter(ids)
        assert len(ids) == self.THREADS * self.EACH

    def test_parent_and_child_go_on_after_a_fork(self, producer: Producer, redis_url: str) -> None:
        producer.enqueue(wire_object(command_id="before", device_key=device(999)))
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            # Both start together, so that a shared socket would mix up their answers.
            status = 1
            try:
                os.read(reads, 1)
                for fields in objects(100):
                    producer.enqueue(fields)
                    assert producer.lookup(fields["command_id"]) is not None
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.write(writes, b"!")
        for fields in objects(100, 100):
            producer.enqueue(fields)
            assert producer.lookup(fields["command_id"]) is not None
        _, how = os.waitpid(child, 0)
        os.close(reads)
        os.close(writes)
        assert os.waitstatus_to_exitcode(how) == 0
        producer.enqueue(wire_object(command_id="after", device_key=device(1000)))
        ids = Counter(command["command_id"] for command in take_commands(redis_url, Lane.ROUTINE))
        assert ids == Counter(["before", "after", *(f"command-{n}" for n in range(200))])


class TestAsyncio:
    def test_the_same_is_done(self, producer: Producer, redis_url: str) -> None:
        async def all_three() -> None:
            command_id = await producer.aenqueue(wire_object(), lane=Lane.URGENT)
            record = await producer.alookup(command_id)
            assert record is not None
            assert record.lane is Lane.URGENT
            report = await producer.aenqueue_many(objects(60))
            assert report.accepted == 60
            await producer.aenqueue(**wire_object(status="remembered"))

        asyncio.run(all_three())
        assert [queue_length(redis_url, lane) for lane in Lane] == [1, 1, 2]

    def test_the_loop_goes_on_while_the_broker_hangs(self, redis_url: str) -> None:
        async def tick_beside(task: asyncio.Task[str], silent: SilentServer) -> float:
            """The longest time between two turns of the loop, from when the broker was called."""
            longest, last = 0.0, time.monotonic()
            while not silent.called.is_set():
                await asyncio.sleep(0.005)
            for _ in range(50):
                last = time.monotonic()
                await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - last)
            assert not task.done()
            return longest

        async def enqueue() -> float:
            with SilentServer() as silent:
                producer = Producer(load_settings(broker_url=silent.url, ledger_url=redis_url))
                task = asyncio.create_task(producer.aenqueue(wire_object()))
                longest = await tick_beside(task, silent)
                silent.hang_up()
                with pytest.raises(PublishError):
                    await task
                return longest

        # A blocked loop would stand still for seconds.
        assert asyncio.run(enqueue()) < 1


class TestTheBrokerIsAway:
    @pytest.fixture
    def away(self, redis_url: str) -> Settings:
        """The ledger is there, nobody listens at the broker's port."""
        return load_settings(broker_url=f"redis://:{PASSWORD}@{HOST}:{free_port()}/0", ledger_url=redis_url)

    def test_the_error_names_the_command(self, away: Settings) -> None:
        command = make_command()
        started = time.monotonic()
        with pytest.raises(PublishError) as caught:
            Producer(away).enqueue(command)
        assert time.monotonic() - started < 10
        assert caught.value.command_ids == [command.command_id]
        assert caught.value.report is None

    def test_the_error_of_many_tells_what_was_done_before(self, redis_url: str) -> None:
        port = free_port()
        with ExitStack() as running:
            broker = running.enter_context(start_valkey(port))
            producer = Producer(load_settings(broker_url=broker.url, ledger_url=redis_url))
            with pytest.raises(PublishError) as caught:
                # After the first batch the broker goes.
                producer.enqueue_many(objects(BATCH + 30), on_progress=lambda _: running.close())
        assert caught.value.command_ids == [f"command-{n}" for n in range(BATCH, BATCH + 30)]
        assert caught.value.report is not None
        assert caught.value.report.accepted == BATCH

    def test_a_repeat_once_it_is_back_succeeds_with_one_entry(self, ledger: Ledger, redis_url: str) -> None:
        port = free_port()
        producer = Producer(load_settings(broker_url=f"redis://{HOST}:{port}/0", ledger_url=redis_url))
        command = make_command()
        with pytest.raises(PublishError):
            producer.enqueue(command)
        with start_valkey(port) as broker:
            producer.enqueue(command)
            assert [fields["command_id"] for fields in take_commands(broker.url, Lane.ROUTINE)] == [
                command.command_id
            ]
        assert sum(ledger.open_count().values()) == 1

    def test_a_producer_outlives_a_restart_of_the_broker(self, redis_url: str) -> None:
        port = free_port()
        producer = Producer(load_settings(broker_url=f"redis://{HOST}:{port}/0", ledger_url=redis_url))
        for _ in range(2):
            with start_valkey(port) as broker:
                producer.enqueue(make_command())
                assert queue_length(broker.url, Lane.ROUTINE) == 1

    def test_no_password_is_shown(self, away: Settings) -> None:
        with pytest.raises(PublishError) as caught:
            Producer(away).enqueue(make_command())
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))
        assert HOST in str(caught.value)

    def test_no_personal_data_is_shown(self, away: Settings) -> None:
        with pytest.raises(PublishError) as caught:
            Producer(away).enqueue(make_command())
        assert USERNAME not in "".join(traceback.format_exception(caught.value))


class TestTheLedgerIsAway:
    @pytest.fixture
    def away(self, redis_url: str) -> Settings:
        """The broker is there, nobody listens at the ledger's port."""
        return load_settings(broker_url=redis_url, ledger_url=f"redis://:{PASSWORD}@{HOST}:{free_port()}/0")

    def test_nothing_is_published(self, away: Settings) -> None:
        with pytest.raises(LedgerUnavailableError, match="DEVICE_STATUS_LEDGER_URL"):
            Producer(away).enqueue(make_command())
        assert queue_length(away.broker_url, Lane.ROUTINE) == 0

    @pytest.mark.parametrize(
        "call",
        [
            lambda producer: producer.enqueue(make_command()),
            lambda producer: producer.enqueue_many([make_command()]),
            lambda producer: producer.lookup("x"),
        ],
        ids=["enqueue", "enqueue_many", "lookup"],
    )
    def test_every_call_says_so(self, away: Settings, call: Callable[[Producer], Any]) -> None:
        started = time.monotonic()
        with pytest.raises(LedgerUnavailableError) as caught:
            call(Producer(away))
        assert time.monotonic() - started < 10
        assert isinstance(caught.value, DeviceStatusError)
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))

    def test_one_that_takes_no_writes_is_away_too(self, producer: Producer, ledger: Ledger) -> None:
        ledger.redis.config_set("maxmemory", "1")
        try:
            with pytest.raises(LedgerUnavailableError):
                producer.enqueue(make_command())
        finally:
            ledger.redis.config_set("maxmemory", "0")


@dataclass(frozen=True)
class Ending:
    """How a call ended."""

    error: BaseException | None
    seconds: float


@pytest.fixture(scope="class")
def endings() -> Iterator[dict[str, Future[Ending]]]:
    with ExitStack() as running:
        ledger = running.enter_context(start_valkey())
        frozen = running.enter_context(start_valkey())
        silent = running.enter_context(SilentServer())
        threads = running.enter_context(ThreadPoolExecutor(8))

        def producer(broker_url: str, ledger_url: str) -> Producer:
            return Producer(load_settings(broker_url=broker_url, ledger_url=ledger_url))

        def timed(call: Callable[[Producer], Any], producer: Producer) -> Ending:
            started, error = time.monotonic(), None
            try:
                call(producer)
            except Exception as raised:
                error = raised
            return Ending(error, time.monotonic() - started)

        def enqueue(producer: Producer) -> None:
            producer.enqueue(make_command())

        # With a connection from better times, and without.
        known_broker, known_ledger = producer(frozen.url, ledger.url), producer(ledger.url, frozen.url)
        enqueue(known_broker)
        enqueue(known_ledger)
        frozen.freeze()
        yield {
            "broker is silent": threads.submit(timed, enqueue, producer(silent.url, ledger.url)),
            "broker is frozen": threads.submit(timed, enqueue, known_broker),
            "broker is frozen, many": threads.submit(
                timed,
                lambda producer: producer.enqueue_many(objects(2 * BATCH)),
                producer(frozen.url, ledger.url),
            ),
            "ledger is silent": threads.submit(timed, enqueue, producer(ledger.url, silent.url)),
            "ledger is frozen": threads.submit(timed, enqueue, known_ledger),
            "look-up in a silent ledger": threads.submit(
                timed, lambda producer: producer.lookup("x"), producer(ledger.url, silent.url)
            ),
        }


class TestAServerHangs:
    """It takes connections and never answers. These calls wait for seconds, so they wait together."""

    @pytest.mark.parametrize("which", ["broker is silent", "broker is frozen", "broker is frozen, many"])
    def test_a_broker_that_hangs_is_an_error_within_ten_seconds(
        self, endings: dict[str, Future[Ending]], which: str
    ) -> None:
        ending = endings[which].result()
        assert isinstance(ending.error, PublishError)
        assert len(ending.error.command_ids) in {1, BATCH}
        assert ending.seconds < 10

    @pytest.mark.parametrize("which", ["ledger is silent", "ledger is frozen", "look-up in a silent ledger"])
    def test_a_ledger_that_hangs_is_an_error_within_ten_seconds(
        self, endings: dict[str, Future[Ending]], which: str
    ) -> None:
        ending = endings[which].result()
        assert isinstance(ending.error, LedgerUnavailableError)
        assert ending.seconds < 10

    @pytest.mark.parametrize("which", ["broker is silent", "ledger is silent"])
    def test_no_password_is_shown(self, endings: dict[str, Future[Ending]], which: str) -> None:
        ending = endings[which].result()
        assert ending.error is not None
        assert PASSWORD not in "".join(traceback.format_exception(ending.error))

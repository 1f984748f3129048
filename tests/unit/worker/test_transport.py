"""The contract with kombu: the private method that `transport.py` overrides is the one we know, and a
message that can't be read costs nothing but itself.
"""

from __future__ import annotations

import ast
import base64
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from packaging.requirements import Requirement

from device_status import Lane
from device_status.errors import LedgerUnavailableError
from device_status.publisher import queue, queue_name
from device_status_worker.intake import envelope_problem
from device_status_worker.local import EmbeddedValkey
from device_status_worker.transport import (
    CheckedChannel,
    SentinelTransport,
    Transport,
    give_back,
    popped,
)
from support import wire_object
from support.messages import BAD_MESSAGES, body_of, envelope
from support.servers import HOST, free_port
from support.waiting import eventually

KNOWN = """
def _brpop_read(self, **options):
    try:
        try:
            dest__item = self.client.parse_response(self.client.connection, 'BRPOP', **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        if dest__item:
            dest, item = dest__item
            dest = bytes_to_str(dest).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(dest)
            self.connection._deliver(loads(bytes_to_str(item)), dest)
            return True
        else:
            raise Empty()
    finally:
        self._in_poll = None
        self._flush_brpop_reauth()
"""
"""kombu's method. Where this differs from the installed one, read what changed and follow it."""

LANE = Lane.ROUTINE
UNREADABLE = [name for name, make in BAD_MESSAGES.items() if make("x").code == "MalformedEnvelope"]


def plain(source: str) -> str:
    return ast.unparse(ast.parse(textwrap.dedent(source)))


class TestContract:
    def test_kombus_method_is_the_one_that_was_followed(self) -> None:
        assert plain(inspect.getsource(kombu_redis.Channel._brpop_read)) == plain(KNOWN)

    def test_ours_has_the_same_signature(self) -> None:
        ours, theirs = (
            [(each.name, each.kind) for each in inspect.signature(method).parameters.values()]
            for method in (CheckedChannel._brpop_read, kombu_redis.Channel._brpop_read)
        )
        assert ours == theirs

    def test_a_message_is_delivered_as_we_call_it(self) -> None:
        assert list(inspect.signature(virtual.Transport._deliver).parameters) == ["self", "message", "queue"]

    @pytest.mark.parametrize("transport", [Transport, SentinelTransport])
    def test_both_transports_use_our_channel(self, transport: Any) -> None:
        assert issubclass(transport.Channel, CheckedChannel)
        assert transport.Channel._brpop_read is CheckedChannel._brpop_read

    def test_kombus_version_is_bound_to_the_minor_release(self) -> None:
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
        requirements = map(Requirement, project["optional-dependencies"]["worker"])
        (bound,) = [each.specifier for each in requirements if each.name == "kombu"]
        major, minor = (int(part) for part in version("kombu").split(".")[:2])
        assert version("kombu") in bound
        assert f"{major}.{minor + 1}.0" not in bound


class Reader:
    """Reads a queue through our channel as a worker does."""

    def __init__(self, url: str) -> None:
        self.connection = kombu.Connection(
            url, transport=f"{Transport.__module__}:Transport", transport_options={"socket_timeout": 4}
        )
        self.received: list[Any] = []
        self.consumer = kombu.Consumer(
            self.connection.channel(),
            queues=[queue(LANE, url)],
            on_message=self._keep,
            accept=["application/json"],
        )
        self.consumer.consume()

    def _keep(self, message: Any) -> None:
        message.ack()
        self.received.append(message)

    def read(self) -> Any:
        """The next message that is one."""
        while not self.received:
            self.connection.drain_events(timeout=10)
        return self.received.pop(0)


@pytest.fixture
def buried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, str]]:
    """What our channel found to be no message; the real check decides."""
    found: list[tuple[bytes, str]] = []

    def bury(raw: bytes, queue: str) -> bool:
        if envelope_problem(raw):
            found.append((raw, queue))
            return True
        return False

    monkeypatch.setattr(CheckedChannel, "bury_envelope", staticmethod(bury), raising=False)
    return found


@pytest.fixture
def reader(redis_url: str, buried: list[tuple[bytes, str]]) -> Iterator[Reader]:
    reader = Reader(redis_url)
    yield reader
    reader.connection.release()


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


class TestReading:
    def test_what_redis_answers_to_brpop_goes_through_our_method(self, reader: Reader) -> None:
        channel = reader.connection.default_channel
        assert channel.handlers["BRPOP"].__func__ is CheckedChannel._brpop_read

    @pytest.mark.parametrize("name", UNREADABLE)
    def test_a_message_that_cannot_be_read_is_handed_over_whole_and_the_next_is_delivered(
        self, name: str, reader: Reader, client: Any, buried: list[tuple[bytes, str]]
    ) -> None:
        bad = BAD_MESSAGES[name]("marker").raw
        good = body_of({"command": wire_object(command_id="good")})
        client.lpush(queue_name(LANE), bad)
        client.lpush(queue_name(LANE), envelope(good))
        assert reader.read().body == good
        assert buried == [(bad, queue_name(LANE))]

    def test_a_message_says_where_it_came_from_and_nothing_else_does(
        self, reader: Reader, client: Any
    ) -> None:
        lie = {"delivery_info": {"exchange": "", "routing_key": "device-status.urgent"}}
        client.lpush(queue_name(LANE), envelope(b"[]", properties=lie))
        assert reader.read().delivery_info["routing_key"] == queue_name(LANE)

    def test_nothing_that_is_compressed_is_unpacked(self, reader: Reader, client: Any) -> None:
        # In a process of its own, since it is for good.
        program = """
import bz2, kombu
from kombu import compression
from device_status_worker import transport
names = set(compression._decoders)
transport.install(lambda raw, queue: False)
bomb = bz2.compress(bytes(10_000_000))
message = kombu.Message(body=bomb, headers={"compression": "application/x-bz2"}, channel=None)
assert names and message.errors and len(message.body) == len(bomb), message.errors
for name in names:
    try:
        compression.decompress(bomb, name)
    except KeyError:
        continue
    raise AssertionError(name)
"""
        subprocess.run([sys.executable, "-c", program], check=True)

    def test_no_message_brings_its_own_priority(self, reader: Reader, client: Any) -> None:
        message = envelope(b"[]", properties={"priority": float("inf")})
        client.lpush(queue_name(LANE), message)
        assert reader.read().properties["priority"] == 0

    def test_two_messages_of_one_tag_are_kept_until_each_is_acknowledged(
        self, reader: Reader, client: Any
    ) -> None:
        """celery-ts gives every message the tag `celery`."""
        for body in (b"[1]", b"[2]"):
            client.lpush(queue_name(LANE), envelope(body, properties={"delivery_tag": "celery"}))
        reader.consumer.on_message = reader.received.append
        first, second = reader.read(), reader.read()
        assert client.hlen("unacked") == client.zcard("unacked_index") == 2
        first.ack()
        (kept,) = client.hvals("unacked")
        assert base64.b64encode(second.body) in kept
        second.ack()
        assert client.exists("unacked", "unacked_index") == 0

    def test_a_message_that_comes_again_still_says_what_its_sender_called_it(
        self, reader: Reader, client: Any
    ) -> None:
        client.lpush(queue_name(LANE), envelope(b"[]", properties={"delivery_tag": "celery"}))
        reader.consumer.on_message = reader.received.append
        first = reader.read()
        reader.consumer.channel.qos.restore_by_tag(first.delivery_tag)
        again = reader.read()
        assert again.properties["sent_tag"] == first.properties["sent_tag"] == "celery"
        assert again.delivery_tag != first.delivery_tag

    @pytest.mark.parametrize("encoding", ["utf-8", "UTF-8"])
    def test_a_body_may_travel_as_it_is(self, encoding: str, reader: Reader, client: Any) -> None:
        client.lpush(queue_name(LANE), envelope("[]", properties={"body_encoding": encoding}))
        assert reader.read().body == b"[]"

    def test_an_empty_queue_is_no_error(self, reader: Reader) -> None:
        with pytest.raises(socket.timeout):
            reader.connection.drain_events(timeout=0.1)

    def test_while_the_ledger_is_away_the_message_stays_first_in_its_queue(
        self, reader: Reader, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def bury(raw: bytes, queue: str) -> bool:
            raise LedgerUnavailableError

        monkeypatch.setattr(CheckedChannel, "bury_envelope", staticmethod(bury))
        messages = [envelope(b"[]"), envelope(b"[]")]
        for message in messages:
            client.lpush(queue_name(LANE), message)
        with pytest.raises(redis.ConnectionError):
            reader.read()
        assert client.lrange(queue_name(LANE), 0, -1) == messages[::-1]


class TestRefused:
    """What Redis has handed over is kept until Redis, which refuses to register it, does so."""

    @pytest.fixture
    def server(self) -> Iterator[EmbeddedValkey]:
        with EmbeddedValkey() as server:
            yield server

    @pytest.fixture
    def admin(self, server: EmbeddedValkey) -> Iterator[Any]:
        with redis.Redis(port=server.port) as admin:
            yield admin

    @pytest.fixture
    def reader(self, server: EmbeddedValkey, buried: list[tuple[bytes, str]]) -> Iterator[Reader]:
        reader = Reader(server.url)
        yield reader
        reader.connection.release()
        # One for all readers of this process.
        popped.is_safe()

    @staticmethod
    def pop_and_refuse(reader: Reader, admin: Any, message: bytes) -> None:
        """Redis hands the message over, and refuses every write from then on."""
        # Sends BRPOP, and reads nothing.
        reader.connection.transport.cycle.on_poll_start()
        eventually(lambda: admin.info("clients")["blocked_clients"] == 1, "it waits for a message")
        admin.lpush(queue_name(LANE), message)
        admin.config_set("min-replicas-to-write", 1)
        assert admin.llen(queue_name(LANE)) == 0
        with pytest.raises(redis.ConnectionError, match="NOREPLICAS"):
            reader.read()

    def test_it_goes_back_when_redis_takes_it_on_whatever_connection(
        self, reader: Reader, server: EmbeddedValkey, admin: Any
    ) -> None:
        message = envelope(b"[]")
        self.pop_and_refuse(reader, admin, message)
        reader.connection.release()
        assert popped.is_held
        admin.config_set("min-replicas-to-write", 0)
        later = Reader(server.url)
        assert later.read().body == b"[]"
        assert not popped.is_held
        later.connection.release()

    def test_while_it_is_held_nothing_more_is_popped(self, reader: Reader, admin: Any) -> None:
        self.pop_and_refuse(reader, admin, envelope(b"[]"))
        admin.config_set("min-replicas-to-write", 0)
        admin.lpush(queue_name(LANE), envelope(b"[]"))
        admin.config_set("min-replicas-to-write", 1)
        with pytest.raises(redis.ConnectionError, match="NOREPLICAS"):
            reader.read()
        assert admin.llen(queue_name(LANE)) == 1

    def test_a_process_that_ends_gives_it_back(
        self, reader: Reader, server: EmbeddedValkey, admin: Any
    ) -> None:
        messages = [envelope(b"[1]"), envelope(b"[2]")]
        self.pop_and_refuse(reader, admin, messages[0])
        admin.config_set("min-replicas-to-write", 0)
        admin.lpush(queue_name(LANE), messages[1])
        give_back(kombu.Connection(server.url, transport=f"{Transport.__module__}:Transport"))
        assert admin.lrange(queue_name(LANE), 0, -1) == messages[::-1], "at the end that is read next"

    def test_a_process_that_ends_gives_it_back_as_soon_as_redis_takes_it(
        self, reader: Reader, server: EmbeddedValkey, admin: Any
    ) -> None:
        self.pop_and_refuse(reader, admin, envelope(b"[]"))
        later = threading.Timer(1.5, admin.config_set, ("min-replicas-to-write", 0))
        later.start()
        give_back(kombu.Connection(server.url, transport=f"{Transport.__module__}:Transport"))
        later.join()
        assert admin.llen(queue_name(LANE)) == 1

    def test_a_process_that_ends_and_can_not_says_so_and_shows_nothing(
        self, reader: Reader, server: EmbeddedValkey, admin: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.pop_and_refuse(reader, admin, envelope(b"a secret"))
        give_back(kombu.Connection(server.url, transport=f"{Transport.__module__}:Transport"), seconds=1)
        (line,) = [each.getMessage() for each in caplog.records if "given back" in each.getMessage()]
        assert "NOREPLICAS" in line
        assert "secret" not in line
        assert envelope(b"a secret").decode() not in line
        admin.config_set("min-replicas-to-write", 0)
        give_back(kombu.Connection(server.url, transport=f"{Transport.__module__}:Transport"))

    def test_a_full_broker_is_emptied(self, reader: Reader, admin: Any) -> None:
        # If taking a message needed room, it would stay full for good.
        for number in range(20):
            admin.lpush(queue_name(LANE), envelope(str(number).encode()))
        admin.config_set("maxmemory", "1mb")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            admin.lpush(queue_name(LANE), b"")
        assert [reader.read().body for _ in range(20)] == [str(number).encode() for number in range(20)]
        assert admin.llen(queue_name(LANE)) == admin.hlen("unacked") == admin.zcard("unacked_index") == 0

    def test_a_full_broker_takes_back_what_was_popped(
        self, reader: Reader, admin: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def bury(raw: bytes, queue: str) -> bool:
            raise LedgerUnavailableError

        monkeypatch.setattr(CheckedChannel, "bury_envelope", staticmethod(bury))
        message = envelope(b"[]")
        admin.lpush(queue_name(LANE), message)
        admin.config_set("maxmemory", "1mb")
        with pytest.raises(redis.ConnectionError):
            reader.read()
        assert admin.lrange(queue_name(LANE), 0, -1) == [message]

    @staticmethod
    def deliver(reader: Reader, admin: Any, *messages: bytes) -> list[Any]:
        """Messages that are not acknowledged yet."""
        admin.lpush(queue_name(LANE), *messages)
        reader.consumer.on_message = reader.received.append
        while len(reader.received) < len(messages):
            reader.connection.drain_events(timeout=10)
        return reader.received

    @pytest.mark.parametrize("refuse", ["NOREPLICAS", "READONLY"])
    def test_giving_back_ends_though_redis_refuses_and_works_later(
        self, refuse: str, reader: Reader, admin: Any
    ) -> None:
        """kombu's transaction would begin anew for as long as Redis refuses."""
        (message,) = self.deliver(reader, admin, envelope(b"[]"))
        if refuse == "READONLY":
            admin.replicaof(HOST, free_port())
        else:
            admin.config_set("min-replicas-to-write", 1)
        errors: list[Exception] = []

        def give_back() -> None:
            try:
                message.reject(requeue=True)
            except redis.RedisError as error:
                errors.append(error)

        thread = threading.Thread(target=give_back, daemon=True)
        thread.start()
        thread.join(10)
        has_ended, left = not thread.is_alive(), admin.hlen("unacked")
        admin.replicaof("NO", "ONE")
        admin.config_set("min-replicas-to-write", 0)
        thread.join()
        assert has_ended
        assert left == 1
        assert refuse in str(errors[0])
        message.reject(requeue=True)
        assert admin.llen(queue_name(LANE)) == 1
        assert admin.exists("unacked", "unacked_index") == 0

    def test_a_full_broker_takes_back_what_was_delivered(self, reader: Reader, admin: Any) -> None:
        (message,) = self.deliver(reader, admin, envelope(b"[]"))
        admin.config_set("maxmemory", "1mb")
        message.reject(requeue=True)
        assert admin.llen(queue_name(LANE)) == 1

    def test_what_was_acknowledged_meanwhile_does_not_come_again(self, reader: Reader, admin: Any) -> None:
        (message,) = self.deliver(reader, admin, envelope(b"[]"))
        (tag,) = admin.hkeys("unacked")
        message.ack()
        admin.zadd("unacked_index", {tag: 0})
        reader.consumer.channel.qos.restore_by_tag(tag.decode())
        assert admin.keys() == []

    def test_given_back_it_is_read_last_and_of_a_dead_worker_next(self, reader: Reader, admin: Any) -> None:
        given, left = self.deliver(reader, admin, envelope(b"given"), envelope(b"left"))
        admin.lpush(queue_name(LANE), envelope(b"waiting"))
        given.reject(requeue=True)
        reader.consumer.channel.qos.restore_by_tag(left.delivery_tag)
        raw = [json.loads(each) for each in admin.lrange(queue_name(LANE), 0, -1)]
        assert [base64.b64decode(each["body"]) for each in reversed(raw)] == [b"left", b"waiting", b"given"]
        assert [each["headers"].get("redelivered") for each in reversed(raw)] == [True, None, True]

    def test_what_is_delivered_comes_again_as_kombu_would_have_it(self, reader: Reader, admin: Any) -> None:
        admin.lpush(queue_name(LANE), envelope(b"[]"))
        reader.consumer.on_message = reader.received.append
        while not reader.received:
            reader.connection.drain_events(timeout=10)
        (tag,) = admin.hkeys("unacked")
        assert time.time() - 60 < admin.zscore("unacked_index", tag) <= time.time()
        reader.consumer.channel.qos.restore_by_tag(tag.decode())
        assert admin.llen(queue_name(LANE)) == 1
        assert admin.exists("unacked", "unacked_index") == 0

    def test_acknowledgements_do_not_wait_for_a_hung_broker_one_after_the_other(
        self, reader: Reader, server: EmbeddedValkey, admin: Any
    ) -> None:
        for _ in range(8):
            admin.lpush(queue_name(LANE), envelope(b"[]"))
        reader.consumer.on_message = reader.received.append
        while len(reader.received) < 8:
            reader.connection.drain_events(timeout=10)
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began_at = time.monotonic()
            for message in reader.received:
                message.ack_log_error(None, Transport.connection_errors)
            assert time.monotonic() - began_at < 6
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_a_process_that_dies_as_it_looks_for_messages_of_dead_workers_does_not_keep_the_others_from_it(
    redis_url: str, buried: list[tuple[bytes, str]], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a process of its own: the app installs our transport for good.
    say = "from device_status_worker.app import app; print(app.conf.broker_transport_options)"
    shown = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    options = ast.literal_eval(shown.stdout)
    client.zadd("unacked_index", {"tag": 0})
    with kombu.Connection(
        redis_url, transport=f"{Transport.__module__}:Transport", transport_options=options
    ) as connection:
        qos = connection.channel().qos
        held: list[int] = []
        monkeypatch.setattr(qos, "restore_by_tag", lambda *_: held.append(client.pttl("unacked_mutex")))
        qos.restore_visible(interval=1)
    assert 0 < held[0] <= 1000 * options["visibility_timeout"] / 10

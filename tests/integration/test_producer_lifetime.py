"""Promises of a producer's life: made from keywords, closed, used again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

import device_status
from device_status import Lane, Producer, SettingsError, load_settings
from support import device, make_command, wire_object
from support.broker import queue_length
from support.rabbitmq import RabbitMQ
from support.rabbitmq_states import connection_states, frozen
from support.servers import Valkey, start_valkey
from support.waiting import eventually


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A server of its own, so that no other test's connections are counted."""
    with start_valkey() as server:
        yield server


def connections(server: Valkey) -> int:
    """Clients of the server, without the one that asks."""
    with closing(redis.Redis.from_url(server.url)) as client:
        return len(client.client_list()) - 1


class TestMaking:
    def test_keywords_say_where_broker_and_ledger_are(self, redis_url: str, server: Valkey) -> None:
        with Producer(broker_url=server.url, ledger_url=redis_url) as producer:
            command_id = producer.enqueue(wire_object())
            assert queue_length(server.url, Lane.ROUTINE) == 1
        with closing(redis.Redis.from_url(redis_url)) as ledger:
            assert ledger.exists(f"device-status:command:{command_id}")

    def test_keywords_win_over_the_environment(self, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEVICE_STATUS_BROKER_URL", "redis://nowhere.invalid/0")
        monkeypatch.setenv("DEVICE_STATUS_MAX_ATTEMPTS", "3")
        settings = Producer(broker_url=redis_url).settings
        assert (settings.broker_url, settings.max_attempts) == (redis_url, 3)

    @pytest.mark.parametrize(
        ("arguments", "keywords", "text"),
        [
            ((load_settings(),), {"broker_url": "redis://h"}, "give one of them"),
            (("redis://:hunter2@h",), {}, "broker_url="),
            ((), {"broker_url": "http://:hunter2@h"}, "DEVICE_STATUS_BROKER_URL: "),
            ((), {"broker_url": None}, "DEVICE_STATUS_BROKER_URL: "),
        ],
    )
    def test_what_can_not_be_used_is_a_settings_error(
        self, arguments: tuple[Any, ...], keywords: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            Producer(*arguments, **keywords)
        assert text in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_the_version_is_that_of_the_command(self) -> None:
        done = subprocess.run(
            [Path(sys.executable).with_name("device-status"), "--version"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{device_status.__version__}\n"


class TestClosing:
    def test_no_connection_is_left_and_it_may_be_closed_again(self, server: Valkey) -> None:
        producer = Producer(broker_url=server.url)
        producer.enqueue(wire_object())
        assert connections(server) > 0
        producer.close()
        eventually(lambda: connections(server) == 0, "all connections are closed")
        producer.close()

    def test_one_that_never_connected_may_be_closed(self) -> None:
        Producer(broker_url="redis://nowhere.invalid/0").close()

    def test_the_end_of_the_block_closes_it_after_an_error_too(self, server: Valkey) -> None:
        with suppress(KeyError), Producer(broker_url=server.url) as producer:
            producer.enqueue(wire_object())
            raise KeyError
        eventually(lambda: connections(server) == 0, "all connections are closed")

    def test_it_may_be_used_again(self, server: Valkey) -> None:
        producer = Producer(broker_url=server.url)
        for number in range(2):
            producer.enqueue(wire_object(device_key=device(number)))
            producer.close()
        assert queue_length(server.url, Lane.ROUTINE) == 2

    def test_calls_under_way_finish(self, server: Valkey) -> None:
        producer = Producer(broker_url=server.url)
        done = threading.Event()
        errors: list[BaseException] = []

        def enqueue(first: int) -> None:
            try:
                for number in range(first, first + 150):
                    producer.enqueue(wire_object(device_key=device(number)))
            except BaseException as error:
                errors.append(error)

        def close() -> None:
            while not done.is_set():
                producer.close()

        closer = threading.Thread(target=close)
        threads = [threading.Thread(target=enqueue, args=(1000 * number,)) for number in range(4)]
        for thread in (closer, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        closer.join()
        assert errors == []
        assert queue_length(server.url, Lane.ROUTINE) == 600

    def test_a_child_closes_nothing_of_its_parent(self, server: Valkey) -> None:
        producer = Producer(broker_url=server.url)
        producer.enqueue(wire_object())
        before = connections(server)
        child = os.fork()
        if child == 0:
            producer.close()
            os._exit(0)
        _, how = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(how) == 0
        assert connections(server) == before
        producer.enqueue(wire_object(device_key=device(2)))
        assert connections(server) == before

    def test_on_rabbitmq_too(self, rabbitmq: RabbitMQ, redis_url: str) -> None:
        before = len(connection_states(rabbitmq))
        producer = Producer(broker_url=rabbitmq.url, ledger_url=redis_url)
        for _ in range(2):
            producer.enqueue(make_command())
            assert len(connection_states(rabbitmq)) == before + 1
            producer.close()
            eventually(lambda: len(connection_states(rabbitmq)) == before, "the connection is closed")

    def test_a_rabbitmq_that_hangs_is_not_waited_for(self, rabbitmq: RabbitMQ, redis_url: str) -> None:
        producer = Producer(broker_url=rabbitmq.url, ledger_url=redis_url)
        producer.enqueue(make_command())
        with frozen(rabbitmq):
            began_at = time.monotonic()
            producer.close()
            assert time.monotonic() - began_at < 5

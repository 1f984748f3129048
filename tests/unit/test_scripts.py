"""Promises of the connection to the ledger: what is waited for, what is not, and what is left behind."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from device_status import DeviceStatusError, Lane, LedgerUnavailableError, Producer, Settings
from device_status.ledger import Ledger, command_key
from device_status.scripts import connect
from device_status.server_states import explain
from device_status_worker.local import EmbeddedValkey
from support import make_command, wire_object
from support.servers import HOST, answering
from support.waiting import eventually


def test_data_that_no_script_expects_is_no_server_that_is_away(ledger: Ledger) -> None:
    command = make_command()
    ledger.redis.lpush(command_key(command.idempotency_key), "a list")
    with pytest.raises(DeviceStatusError, match="does not expect") as raised:
        ledger.claim(command, Lane.ROUTINE)
    assert not isinstance(raised.value, LedgerUnavailableError)


@pytest.mark.parametrize("server", [{"maxmemory": "1mb"}, {"min-replicas-to-write": "1"}], ids=str)
def test_a_server_that_can_not_write_is_one_to_wait_for(
    server: dict[str, Any], server_binary: Path | None
) -> None:
    with EmbeddedValkey(config=server, binary=server_binary) as valkey:
        ledger = Ledger(valkey.url)
        with pytest.raises(LedgerUnavailableError):
            fill(ledger)


@pytest.mark.parametrize("rules", ["-@write", "resetkeys ~other:*"])
def test_a_user_without_rights_is_no_fault_of_the_data(rules: str, server_binary: Path | None) -> None:
    with EmbeddedValkey(binary=server_binary) as valkey, redis.Redis(port=valkey.port) as admin:
        admin.execute_command("ACL", "SETUSER", "default", *rules.split())
        with pytest.raises(LedgerUnavailableError, match="allow its user every key and command"):
            fill(Ledger(valkey.url))


def test_a_node_of_a_cluster_is_told_from_broken_data(server_binary: Path | None) -> None:
    with EmbeddedValkey(config={"cluster-enabled": "yes"}, binary=server_binary) as valkey:
        with pytest.raises(LedgerUnavailableError, match="Redis Cluster, which can't be used"):
            fill(Ledger(valkey.url))
        with redis.Redis(port=valkey.port) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(
                lambda: "cluster_state:ok" in str(admin.execute_command("CLUSTER", "INFO")), "it works"
            )
        with pytest.raises(LedgerUnavailableError, match="Redis Cluster, which can't be used"):
            fill(Ledger(valkey.url))


def test_no_error_repeats_what_was_sent(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pipeline() as pipe:
        client.set("text", "x")
        errors = []
        for call in (
            lambda: client.execute_command("NOSUCHCOMMAND", "ada"),
            lambda: pipe.lpush("text", "ada").execute(),
            lambda: client.eval("return redis.call('LPUSH', KEYS[1], ARGV[1])", 1, "text", "ada"),
        ):
            with pytest.raises(redis.ResponseError) as raised:
                call()
            errors.append(raised.value)
    assert "ada" in str(errors[0]) + str(errors[1])
    assert "ada" not in " ".join(map(explain, errors))


PIECES = [b"+", b"-", b":", b"$", b"*", b"%", b"_", b"1", b"-1", b"x", b"OOM", b" ", b"\r\n"]


@hypothesis.settings(max_examples=20)
@given(st.lists(st.sampled_from(PIECES)))
def test_whatever_answers_is_an_error_of_redis_or_an_answer(parts: list[bytes]) -> None:
    with answering(b"".join(parts)) as port:
        client = connect(f"redis://{HOST}:{port}/0")
        with suppress(redis.RedisError):
            client.ping()
        client.close()


def test_a_read_only_server_is_one_to_wait_for(redis_url: str, server_binary: Path | None) -> None:
    host, _, port = redis_url.removeprefix("redis://").removesuffix("/0").partition(":")
    # A Redis of an older version reads nothing from a newer Valkey, and is a replica all the same.
    with EmbeddedValkey(config={"replicaof": f"{host} {port}"}, binary=server_binary) as replica:
        ledger = Ledger(replica.url)
        with pytest.raises(LedgerUnavailableError):
            fill(ledger)


def fill(ledger: Ledger) -> None:
    """Write some megabytes."""
    for _ in range(100):
        ledger.enter([make_command() for _ in range(100)], Lane.BULK)


def test_a_producer_that_is_forgotten_leaves_no_connection(settings: Settings, ledger: Ledger) -> None:
    def connections() -> int:
        gc.collect()
        return len(ledger.redis.client_list())

    Producer(settings).enqueue(wire_object())
    before = connections()
    for _ in range(5):
        Producer(settings).enqueue(wire_object())
    assert connections() <= before

"""Promises of the connection to the ledger: what is waited for, what is not, and what is left behind."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from device_status import DeviceStatusError, Lane, LedgerUnavailableError, Producer, Settings
from device_status.ledger import Ledger, command_key
from device_status_worker.local import EmbeddedValkey
from support import make_command, wire_object


def test_data_that_no_script_expects_is_no_server_that_is_away(ledger: Ledger) -> None:
    command = make_command()
    ledger.redis.lpush(command_key(command.idempotency_key), "a list")
    with pytest.raises(DeviceStatusError, match="does not expect") as raised:
        ledger.claim(command, Lane.ROUTINE)
    assert not isinstance(raised.value, LedgerUnavailableError)


@pytest.mark.parametrize("server", [{"maxmemory": "1mb"}, {"min-replicas-to-write": "1"}], ids=str)
def test_a_server_that_can_not_write_is_one_to_wait_for(server: dict[str, Any]) -> None:
    with EmbeddedValkey(config=server) as valkey:
        ledger = Ledger(valkey.url)
        with pytest.raises(LedgerUnavailableError):
            fill(ledger)


def test_a_read_only_server_is_one_to_wait_for(redis_url: str) -> None:
    host, _, port = redis_url.removeprefix("redis://").removesuffix("/0").partition(":")
    with EmbeddedValkey(config={"replicaof": f"{host} {port}"}) as replica:
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

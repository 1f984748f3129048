"""Promises about warnings: a server that must not be trusted with the ledger is named, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_status.health import ledger_warnings, server_warnings
from device_status.scripts import connect
from device_status_worker.local import EmbeddedValkey
from support.servers import HOST, free_port


def test_a_server_with_the_right_settings_gets_no_warning(tmp_path: Path) -> None:
    with EmbeddedValkey(data_dir=tmp_path, append_only=True) as server:
        assert ledger_warnings(connect(server.url)) == []


def test_without_the_append_only_file_it_is_told() -> None:
    with EmbeddedValkey() as server:
        (warning,) = server_warnings(connect(server.url), name="ledger")
    assert "append-only file is off" in warning
    assert "set appendonly yes" in warning


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_policy_that_evicts_is_told(policy: str, tmp_path: Path) -> None:
    config = {"maxmemory": "100mb", "maxmemory-policy": policy}
    with EmbeddedValkey(data_dir=tmp_path, append_only=True, config=config) as server:
        (warning,) = server_warnings(connect(server.url), name="broker")
    assert policy in warning
    assert "noeviction" in warning


def test_one_that_does_not_answer_is_a_warning_and_no_error() -> None:
    (warning,) = ledger_warnings(connect(f"redis://{HOST}:{free_port()}/0"))
    assert "does not answer" in warning

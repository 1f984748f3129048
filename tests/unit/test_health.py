"""Promises about warnings: a server that must not be trusted with the ledger is named, with the remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_status.cli import app
from device_status.health import ledger_warnings, server_warnings
from device_status.scripts import connect
from device_status_worker.local import EmbeddedValkey
from support.servers import HOST, free_port
from support.waiting import eventually
from support.workers import WorkerProcess

EVICTING = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}


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


def test_a_worker_that_starts_tells_both_and_works_all_the_same(tmp_path: Path) -> None:
    with EmbeddedValkey(config=EVICTING) as server:
        environment = os.environ | {"DEVICE_STATUS_BROKER_URL": server.url}
        worker = WorkerProcess(environment, tmp_path / "worker.log").start()
        try:
            worker.wait_until_ready()
            for text in ("append-only file is off", "maxmemory-policy is allkeys-lru"):
                eventually(
                    lambda text=text: any(
                        "WARNING" in line and text in line for line in worker.output.splitlines()
                    ),
                    f"the worker warns: {text}",
                )
            assert worker.terminate() == 0
        finally:
            worker.kill()


def test_a_worker_that_starts_before_its_ledger_tells_both_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedValkey() as broker:
        urls = {
            "DEVICE_STATUS_BROKER_URL": broker.url,
            "DEVICE_STATUS_LEDGER_URL": f"redis://{HOST}:{port}/0",
        }
        worker = WorkerProcess(os.environ | urls, tmp_path / "worker.log").start()
        try:
            eventually(lambda: "ledger: does not answer" in worker.output, "it warns", 30)
            with EmbeddedValkey(port=port):
                eventually(lambda: "append-only file is off" in worker.output, "it warns of the settings", 30)
                assert worker.terminate() == 0
        finally:
            worker.kill()


def test_doctor_tells_both_of_ledger_and_of_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey(config=EVICTING) as ledger, EmbeddedValkey(config=EVICTING) as broker:
        monkeypatch.setenv("DEVICE_STATUS_BROKER_URL", broker.url)
        monkeypatch.setenv("DEVICE_STATUS_LEDGER_URL", ledger.url)
        # Without credentials it asks AWS nothing.
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        findings = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    warnings = sorted(
        finding["finding"].partition(";")[0].partition(": when")[0].partition(": what")[0]
        for finding in findings
        if finding["level"] == "warning"
    )
    assert warnings == [
        "broker: maxmemory-policy is allkeys-lru",
        "broker: the append-only file is off",
        "ledger: maxmemory-policy is allkeys-lru",
        "ledger: the append-only file is off",
    ]

"""What a test of TLS asks of each client: `doctor`, a worker, an error text."""

from __future__ import annotations

import json
import os
from pathlib import Path

from support.terminal import run
from support.waiting import eventually
from support.workers import WorkerProcess


def environment_for(broker: str, ledger: str = "") -> dict[str, str]:
    """For a process that asks AWS nothing."""
    nothing = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    urls = {"DEVICE_STATUS_BROKER_URL": broker, "DEVICE_STATUS_LEDGER_URL": ledger}
    return os.environ | nothing | urls | {"AWS_EC2_METADATA_DISABLED": "true"}


def findings(environment: dict[str, str], level: str) -> list[tuple[str, str]]:
    """What `doctor` finds of the servers at this level: checks and texts."""
    found = json.loads(run(environment, "doctor", "--json").stdout)
    return [
        (each["check"], each["finding"])
        for each in found
        if each["level"] == level and each["check"] != "AWS"
    ]


def kept_away(environment: dict[str, str], folder: Path, *, secret: str) -> str:
    """What a worker logs while it tries to connect, a second time too: lines, and no traceback."""
    worker = WorkerProcess(environment, folder / "worker.log").start()
    try:
        eventually(lambda: worker.output.count("Cannot connect to the broker") > 1, "it has tried twice", 60)
        assert worker.is_alive
    finally:
        worker.kill()
    assert "Traceback" not in worker.output
    assert secret not in worker.output
    return worker.output


def assert_refused(text: str, *, secret: str) -> None:
    """One line that names the cause and the remedy, and nothing that is secret."""
    assert "certificate" in text
    assert "localhost" in text
    assert "ssl_ca_certs" in text
    assert secret not in text
    assert "\n" not in text.strip()

"""Producers without our package: their messages are entered in the ledger on receipt, and done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_status import State
from support.site import Site

ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests" / "node"


@pytest.fixture(scope="module")
def site(rabbitmq_url: str) -> Iterator[Site]:
    with Site(rabbitmq_url) as site:
        site.start_worker().wait_until_ready()
        yield site


def run(*arguments: str, **environment: str) -> str:
    result = subprocess.run(
        arguments, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_plain_celery(site: Site) -> None:
    command = site.make_command()
    command_id = run(
        sys.executable,
        str(ROOT / "examples" / "bare_celery.py"),
        command["user_pool_id"],
        command["username"],
        command["device_key"],
        DEVICE_STATUS_BROKER_URL=site.settings.broker_url,
    )
    assert site.outcome(command_id).state is State.SUCCEEDED
    assert site.status_of(command) == "not_remembered"


def test_node(site: Site) -> None:
    """celery-node on Redis; amqplib on RabbitMQ, whose quorum queues celery-node can't publish to."""
    if shutil.which("node") is None or not (NODE / "node_modules").exists():
        pytest.skip("needs Node.js and: npm ci --prefix tests/node")
    command = site.make_command(command_id=str(uuid.uuid4()))
    script = "publish_amqp.js" if site.settings.broker_url.startswith("amqp") else "publish.js"
    run("node", str(NODE / script), site.settings.broker_url, json.dumps(command))
    assert site.outcome(command["command_id"]).state is State.SUCCEEDED
    assert site.status_of(command) == "not_remembered"


def test_the_same_message_twice_is_done_once(site: Site) -> None:
    command = site.make_command()
    for _ in range(2):
        site.publish(command)
    site.outcome(command["command_id"])
    site.fence()
    assert len(site.requests_for(command["user_pool_id"])) == 1

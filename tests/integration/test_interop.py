"""Producers without our package: their messages are entered in the ledger on receipt, and done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_status import State
from support.rabbitmq import RabbitMQ, missing
from support.rabbitmq_states import set_parameter
from support.site import Site
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests" / "node"
DOCUMENTATION = (ROOT / "docs" / "without-our-sdk.md").read_text()
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE / "node_modules").exists(),
    reason="needs Node.js and: npm ci --prefix tests/node",
)


@pytest.fixture(scope="module")
def site(rabbitmq_url: str) -> Iterator[Site]:
    with Site(rabbitmq_url) as site:
        site.start_worker().wait_until_ready()
        yield site


@pytest.fixture(scope="module")
def redis_site() -> Iterator[Site]:
    with Site() as site:
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


@needs_node
class TestNode:
    @pytest.mark.parametrize("script", ["publish.js", "publish_ts.js"])
    def test_celery_node_and_celery_ts_on_redis(self, script: str, redis_site: Site) -> None:
        command = redis_site.make_command()
        run("node", str(NODE / script), redis_site.broker_url, json.dumps(command))
        assert redis_site.outcome(command["command_id"]).state is State.SUCCEEDED
        assert redis_site.status_of(command) == "not_remembered"

    @pytest.fixture(scope="class")
    @staticmethod
    def rabbitmq_site() -> Iterator[Site]:
        """With the shovel of the documentation."""
        if reason := missing():
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        (shovel,) = re.findall(r"set_parameter shovel \S+ '(.*?)'", DOCUMENTATION, re.DOTALL)
        with RabbitMQ("rabbitmq_shovel") as node, Site(node.url) as site:
            site.start_worker().wait_until_ready()
            set_parameter(node, "shovel", "device-status-routine", shovel)
            yield site

    def test_amqplib_on_rabbitmq(self, rabbitmq_site: Site) -> None:
        command = rabbitmq_site.make_command()
        run("node", str(NODE / "publish_amqp.js"), rabbitmq_site.broker_url, json.dumps(command))
        assert rabbitmq_site.outcome(command["command_id"]).state is State.SUCCEEDED

    @pytest.mark.parametrize("script", ["publish.js", "publish_ts.js"])
    def test_celery_node_and_celery_ts_on_rabbitmq_through_a_shovel(
        self, script: str, rabbitmq_site: Site
    ) -> None:
        command = rabbitmq_site.make_command()
        arguments = ["node", str(NODE / script), rabbitmq_site.broker_url, json.dumps(command)]
        with subprocess.Popen([*arguments, "device-status-door.routine"]) as service:
            try:
                assert rabbitmq_site.outcome(command["command_id"]).state is State.SUCCEEDED
            finally:
                service.kill()


def test_the_message_of_the_documentation_on_redis(redis_site: Site) -> None:
    (message,) = (json.loads(each) for each in re.findall(r"```json\n(.*?)```", DOCUMENTATION, re.DOTALL))
    body = json.loads(message["body"])
    command = redis_site.make_command()
    body[1]["command"] |= {name: command[name] for name in ("user_pool_id", "username", "device_key")}
    redis_site.push(json.dumps(message | {"body": json.dumps(body)}).encode())
    eventually(lambda: redis_site.status_of(command) == "not_remembered", "it is done")


def test_the_same_message_twice_is_done_once(site: Site) -> None:
    command = site.make_command()
    for _ in range(2):
        site.publish(command)
    site.outcome(command["command_id"])
    site.fence()
    assert len(site.requests_for(command["user_pool_id"])) == 1

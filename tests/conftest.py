"""Fixtures that every test may use. Real servers, no stand-ins for our own code."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import trustme

from device_status import Producer, Settings, load_settings
from device_status.ledger import Ledger
from support import stepping
from support.rabbitmq import RabbitMQ, missing
from support.servers import REDIS, Valkey, redis_missing, start_valkey
from support.stepping import SteppingValkey, start_stepping_valkey

# Here and not in a fixture: modules of the worker read the environment when they are imported.
for _name in [name for name in os.environ if name.startswith(("DEVICE_STATUS_", "AWS_"))]:
    del os.environ[_name]

# A shell's job in the background ignores Ctrl-C, and so would every process that the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes says nothing on a busy machine, so there is no deadline.
hypothesis.settings.register_profile("suite", max_examples=50, deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """The one server of the session; tests that stop or freeze a server start their own."""
    with start_valkey() as server:
        yield server


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """URL of the session's server, emptied."""
    valkey.flush()
    return valkey.url


@pytest.fixture
def environment(redis_url: str) -> dict[str, str]:
    """For a process whose broker and ledger are the session's server, which no worker serves."""
    return {**os.environ, "DEVICE_STATUS_BROKER_URL": redis_url}


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Broker and ledger are the session's server; the rest is as by default."""
    return load_settings(broker_url=redis_url)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """A ledger on the session's server."""
    ledger = Ledger(settings.ledger, retention=settings.retention)
    yield ledger
    ledger.redis.close()


@pytest.fixture
def producer(settings: Settings) -> Producer:
    """A producer on the session's server."""
    return Producer(settings)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """The one RabbitMQ of the session; its queues may hold what another test left."""
    if reason := missing():
        # A run that promises both brokers must not pass on one.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with RabbitMQ() as node:
        yield node


@pytest.fixture(scope="session")
def _stepping() -> Iterator[SteppingValkey]:
    if reason := stepping.missing():
        # A run that promises to outlive steps of the clock must not pass without one.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with start_stepping_valkey() as server:
        yield server


@pytest.fixture
def stepping_valkey(_stepping: SteppingValkey) -> Iterator[SteppingValkey]:
    """A server whose clock can be set, emptied; its clock is right at first."""
    _stepping.flush()
    yield _stepping
    _stepping.set_clock(0)


@pytest.fixture(scope="module", params=["Valkey", "Redis"])
def server_binary(request: pytest.FixtureRequest) -> Path | None:
    """For `EmbeddedValkey`: a test that uses it runs on both. None: Valkey."""
    if request.param == "Valkey":
        return None
    if reason := redis_missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return REDIS


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """For `Site`: a test that uses it runs on both brokers. Empty where the broker is Redis."""
    if request.param == "redis":
        return ""
    node: RabbitMQ = request.getfixturevalue("rabbitmq")
    return node.url


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The one that clients trust where they speak TLS."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of its certificate."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file

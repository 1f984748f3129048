"""The parts of a worker, put together in this process, and one Cognito as boto3 finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from device_status import DeviceStatusCommand, Incidents, Settings
from device_status.ledger import Ledger
from device_status.publisher import Publisher
from device_status_worker.cognito import Cognito
from device_status_worker.gate import Gates
from device_status_worker.handle import Worker
from device_status_worker.local import LocalCognito
from support import make_command
from support.clock import PassingTime
from support.incidents import Crew

MakeCommand = Callable[..., DeviceStatusCommand]


@pytest.fixture(scope="session")
def _cognito() -> Iterator[LocalCognito]:
    with LocalCognito() as cognito:
        yield cognito


@pytest.fixture
def cognito(_cognito: LocalCognito, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCognito]:
    """A Cognito without faults or requests, which boto3 calls in this test."""
    for name, value in _cognito.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    _cognito.clear_requests()
    yield _cognito
    _cognito.faults.clear()
    _cognito.quota.clear()
    _cognito.start()


@pytest.fixture
def calls(cognito: LocalCognito) -> Cognito:
    """Calls that Cognito; the same object for all tests, since to make its clients takes long."""
    return _calls(cognito.url)


@cache
def _calls(_url: str) -> Cognito:
    return Cognito(connections=8)


@pytest.fixture
def clock(ledger: Ledger) -> PassingTime:
    """How the worker's gates wait."""
    return PassingTime(ledger.redis)


@pytest.fixture
def worker(settings: Settings, ledger: Ledger, calls: Cognito, clock: PassingTime) -> Worker:
    """A worker on the session's server."""
    return Worker(
        settings=settings,
        ledger=ledger,
        gates=Gates(ledger.redis, clock),
        cognito=calls,
        publisher=Publisher(settings.broker_url),
    )


@pytest.fixture
def incidents(settings: Settings) -> Incidents:
    """Incidents on the session's server."""
    return Incidents(settings)


@pytest.fixture
def crew(worker: Worker, settings: Settings) -> Crew:
    """Does what workers do for incidents, when it is told to."""
    return Crew(worker, settings.broker_url)


@pytest.fixture
def new_command(cognito: LocalCognito) -> MakeCommand:
    """Makes commands for new devices of one user."""
    pool = cognito.create_pool()
    cognito.add_user(pool, "ada")

    def make(**overrides: Any) -> DeviceStatusCommand:
        fields = {"user_pool_id": pool, "username": "ada", **overrides}
        if "device_key" not in fields:
            fields["device_key"] = cognito.add_device(pool, "ada")
        return make_command(**fields)

    return make

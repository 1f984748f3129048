"""One Cognito for the tests of the worker's parts, as boto3 finds it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from device_status_worker.cognito import Cognito
from device_status_worker.local import LocalCognito


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

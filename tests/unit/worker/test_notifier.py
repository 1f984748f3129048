"""Promises of notices: what a receiver answers costs neither memory nor time, and its status counts."""

from __future__ import annotations

import socket
import threading
import time
from threading import Event

import pytest

from device_status import Incidents, Settings, load_settings
from device_status.ledger import Ledger
from device_status_worker import notifier
from device_status_worker.notifier import Notifier
from support.raw_server import Serve, dripping, raw_server, saying


def notified(serve: Serve, redis_url: str) -> tuple[str | None, int]:
    """What an incident that has ended says of its webhook after one try, and how many requests came."""
    with raw_server(serve) as server:
        settings: Settings = load_settings(
            broker_url=redis_url, incident_webhook=server.url, incident_webhook_secret="hunter2"
        )
        incidents = Incidents(settings)
        incidents.open("INC-1", user_pool_id="eu-west-1_Ab12Cd34E")
        assert Notifier(Ledger(settings.ledger), settings, Event()).notify()
        return incidents.progress("INC-1").webhook, len(server.received)


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"202 Accepted"])
def test_a_status_that_is_a_success_is_a_delivery(status: bytes, redis_url: str) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    assert notified(saying(answer), redis_url) == ("delivered", 1)


@pytest.mark.parametrize("status", [b"302 Found\r\nLocation: /", b"404 Not Found", b"500 Oh", b"101 Switch"])
def test_any_other_is_none(status: bytes, redis_url: str) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    assert notified(saying(answer), redis_url) == (None, 1)


def test_an_answer_without_an_end_is_read_to_64_kib_and_no_further(redis_url: str) -> None:
    sent = 0

    def flood(connection: socket.socket, over: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while not over.is_set() and sent < 100_000_000:
            connection.sendall(b"x" * 65536)
            sent += 65536

    assert notified(flood, redis_url) == ("delivered", 1)
    # What the kernel's buffers take is not read.
    assert sent < 50_000_000


def test_an_answer_that_drips_holds_the_notice_no_longer_than_the_deadline(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT", 0.5)
    began_at = time.monotonic()
    assert notified(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0.1), redis_url) == (None, 1)
    assert time.monotonic() - began_at < 8


def test_the_deadline_is_well_within_the_lease() -> None:
    assert notifier.TIMEOUT == 15
    assert notifier.LEASE == 60

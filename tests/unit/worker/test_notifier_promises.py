"""Promises about the notice of an incident's end: sent until it is taken, and signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from device_status import Incidents, Settings, load_settings
from device_status.ledger import Ledger
from device_status_worker.notifier import Notifier
from support import POOL
from support.clock import let_time_pass

SECRET = "hunter2"


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted, and answers with one status after the other; the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = [204]
        self.notices: list[tuple[str, bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.notices.append((self.headers["Device-Status-Signature"], body))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        yield receiver
        receiver.shutdown()


@pytest.fixture
def settings(redis_url: str, receiver: Receiver) -> Settings:
    url = f"http://127.0.0.1:{receiver.server_port}/incident"
    return load_settings(broker_url=redis_url, incident_webhook=url, incident_webhook_secret=SECRET)


@pytest.fixture
def notifier(settings: Settings, ledger: Ledger) -> Notifier:
    return Notifier(ledger, settings, threading.Event())


@pytest.fixture
def incidents(settings: Settings) -> Incidents:
    """With INC-1, which has ended."""
    incidents = Incidents(settings)
    incidents.open("INC-1", user_pool_id=POOL, users=["ada"])
    incidents.cancel("INC-1")
    return incidents


class TestNotices:
    def test_a_notice_is_signed_over_its_time_and_body(
        self, notifier: Notifier, receiver: Receiver, incidents: Incidents
    ) -> None:
        assert notifier.notify()
        ((signature, body),) = receiver.notices
        signed = dict(part.split("=", 1) for part in signature.split(","))
        expected = hmac.new(SECRET.encode(), f"{signed['t']}.".encode() + body, hashlib.sha256).hexdigest()
        assert signed["v1"] == expected
        notice = json.loads(body)
        assert (notice["id"], notice["type"]) == ("INC-1:1", "incident.ended")
        assert notice["incident"]["users_cancelled"] == 1

    def test_one_that_was_taken_is_not_sent_again(
        self, notifier: Notifier, receiver: Receiver, incidents: Incidents, ledger: Ledger
    ) -> None:
        assert notifier.notify()
        let_time_pass(ledger.redis, 3600)
        assert not notifier.notify()
        assert len(receiver.notices) == 1
        assert incidents.progress("INC-1").webhook == "delivered"

    def test_one_that_was_refused_is_sent_again_with_the_same_id(
        self, notifier: Notifier, receiver: Receiver, incidents: Incidents, ledger: Ledger
    ) -> None:
        receiver.statuses = [500, 302, 204]
        for _ in range(3):
            assert notifier.notify()
            let_time_pass(ledger.redis, 60)
        assert [json.loads(body)["id"] for _, body in receiver.notices] == ["INC-1:1"] * 3
        assert incidents.progress("INC-1").webhook == "delivered"

    def test_one_that_a_dead_worker_had_is_sent_by_another_after_its_lease(
        self, notifier: Notifier, receiver: Receiver, incidents: Incidents, ledger: Ledger
    ) -> None:
        assert ledger.scripts.run("webhook", [], 60_000)[0] == "INC-1"
        assert not notifier.notify(), "somebody else has it"
        let_time_pass(ledger.redis, 61)
        assert notifier.notify()
        assert len(receiver.notices) == 1

    def test_after_an_hour_of_refusals_it_is_given_up_and_the_incident_says_so(
        self, notifier: Notifier, receiver: Receiver, incidents: Incidents, ledger: Ledger
    ) -> None:
        receiver.statuses = [500]
        for _ in range(60):
            assert notifier.notify()
            let_time_pass(ledger.redis, 60)
        assert not notifier.notify()
        assert len(receiver.notices) == 60
        assert incidents.progress("INC-1").webhook == "failed"

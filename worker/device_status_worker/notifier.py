"""Tells a webhook that an incident has ended.

A notice is leased like a command, so that of all workers one sends it. A worker that dies between the
receiver's answer and the ledger sends it again with the same `id`: at least once, and told apart by that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from threading import Event, Thread
from typing import Any, Final

from device_status.errors import IncidentError, LedgerUnavailableError
from device_status.incidents import Incidents
from device_status.ledger import Ledger
from device_status.settings import Settings
from device_status_worker.bounded_http import BoundedHttp, NoAnswerError
from device_status_worker.retries import CAP
from device_status_worker.seldom import Seldom

logger = logging.getLogger(__name__)

IDLE: Final = 1.0
"""Seconds between two looks for notices."""
LEASE: Final = 60.0
"""Seconds that a worker has a notice; longer than the receiver may take."""
TIMEOUT: Final = 15.0
"""Seconds for all of a notice and its answer."""
MOST_ANSWER: Final = 64 * 1024
"""Bytes. Only the answer's status counts."""
MOST_TRIES: Final = 60
"""At most a minute apart: about an hour. Then the incident says `webhook: failed`."""


_ADVICE: Final = {
    "SSLError": "TLS failed; check the receiver's certificate, and DEVICE_STATUS_INCIDENT_WEBHOOK_CA"
}


class Notifier:
    """Sends notices in a thread, where a webhook is set."""

    def __init__(self, ledger: Ledger, settings: Settings, stop: Event) -> None:
        self._scripts = ledger.scripts
        self._settings = settings
        self._incidents = Incidents(settings)
        self._stop = stop
        authorities = settings.incident_webhook_ca or None
        self._http = BoundedHttp(connections=1, ca_certs=authorities, connect=5, read=10)

    def start(self) -> None:
        """Notify in a thread that ends with the process."""
        if self._settings.incident_webhook:
            Thread(target=self._run, name="notifier", daemon=True).start()

    def notify(self) -> bool:
        """Send the next notice that is due, if there is one; says whether there was."""
        match self._scripts.run("webhook", [], int(LEASE * 1000)):
            case [incident_id, times_ended, tries]:
                what, due_in = self._send(incident_id, times_ended, int(tries))
                self._scripts.run("webhook_settle", [], incident_id, times_ended, what, int(due_in * 1000))
                return True
        return False

    def _send(self, incident_id: str, times_ended: str, tries: int) -> tuple[str, float]:
        try:
            progress = self._incidents.progress(incident_id).to_dict()
        except IncidentError:
            return "failed", 0
        body = json.dumps(
            {"id": f"{incident_id}:{times_ended}", "type": "incident.ended", "incident": progress}
        ).encode()
        problem = self._post(body)
        if not problem:
            logger.info("incident %s: the webhook took the notice", incident_id)
            return "delivered", 0
        if tries >= MOST_TRIES:
            logger.error("incident %s: gave up on the webhook: %s", incident_id, problem)
            return "failed", 0
        logger.warning("incident %s: the webhook did not take the notice: %s", incident_id, problem)
        return "retry", min(CAP, 2.0 ** (tries - 1))

    def _post(self, body: bytes) -> str:
        """Why the receiver did not take it; empty if it did."""
        try:
            answer = self._http.send(
                "POST",
                self._settings.incident_webhook,
                signed(body, self._settings.incident_webhook_secret, int(time.time())),
                body,
                seconds=TIMEOUT,
                limit=MOST_ANSWER,
            )
            status = answer.status
        except NoAnswerError as error:
            if not error.status:
                return _ADVICE.get(error.name, error.name)
            status = error.status
        return "" if 200 <= status < 300 else f"HTTP {status}"

    def _run(self) -> None:
        trouble = Seldom(logger)
        while not self._stop.wait(IDLE):
            try:
                while self.notify() and not self._stop.is_set():
                    pass
            except LedgerUnavailableError as error:
                trouble.error(f"the notifier waits: {error}")
            except Exception as error:
                logger.error("the notifier met %s and goes on", type(error).__name__)  # noqa: TRY400


def signed(body: bytes, secret: str, timestamp: int) -> dict[str, Any]:
    """Headers of a notice. The signature is HMAC-SHA-256 over `<timestamp>.<body>`, so that a notice that
    was recorded can't be sent again later.
    """
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "device-status",
        "Device-Status-Signature": f"t={timestamp},v1={signature}",
    }

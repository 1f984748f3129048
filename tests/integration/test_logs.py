"""No username and no device key in any line that a worker writes, at its most talkative level."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from device_status import Incidents, Lane, State
from device_status_worker.local import Fault
from support.clock import let_time_pass
from support.messages import BAD_MESSAGES
from support.site import Site
from support.waiting import eventually

# As no library would write them by chance.
USERNAME = "zoë.secret+7@example.com"


def disguises(secret: str) -> list[str]:
    """A secret as logs may show it: plain, in JSON, in a URL, in base64 at any offset, as bytes."""
    encoded = []
    for offset in range(3):
        # What stands for whole bytes of the secret, whatever stands before it.
        text = base64.b64encode(b"\0" * offset + secret.encode()).decode()
        encoded.append(text[8:-8])
    return [secret, json.dumps(secret)[1:-1], quote(secret), repr(secret.encode())[2:-1], *encoded]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(update_quota="500", read_quota="500", max_attempts="2") as site:
        yield site


@pytest.mark.timeout(180)
def test_no_log_line_holds_personal_data(site: Site) -> None:
    worker = site.start_worker(level="DEBUG").wait_until_ready()
    pool = site.make_pool(USERNAME)
    commands = site.make_devices(pool, 8, USERNAME)
    faults = [
        Fault.error("UserNotFoundException", message=f"User {USERNAME} does not exist."),
        Fault.error("TooManyRequestsException"),
        Fault.error("InternalErrorException", http_status=500, message=USERNAME),
        Fault.html(503, body=f"<p>{USERNAME}</p>"),
        Fault.reset(),
        Fault.error("InvalidParameterException", message=commands[5]["device_key"]),
    ]
    ids = []
    for fault, command in zip([*faults, None, None], commands, strict=True):
        if fault:
            site.cognito.faults.add(fault, device_key=command["device_key"], times=1)
        ids.append(site.producer.enqueue(command, lane=Lane.ROUTINE))
    unknown = {**commands[0], "username": f"nobody-{USERNAME}"}
    ids.append(site.producer.enqueue(unknown))
    site.producer.enqueue_many([{**commands[7], "status": "remembered", "idempotency_key": ids[6]}])
    for name, make in BAD_MESSAGES.items():
        if name != "10 MB":
            site.push(make(f"{USERNAME} {uuid.uuid4()}").raw)
    Incidents(site.settings).open("INC-1", user_pool_id=pool, users=[USERNAME, f"x{USERNAME}"])

    def all_done() -> bool:
        let_time_pass(site.client, 1)
        return all((record := site.producer.lookup(each)) and record.outcome for each in ids)

    eventually(all_done, "all have an outcome", 60)
    eventually(lambda: Incidents(site.settings).progress("INC-1").is_over, "the incident is over", 60)
    eventually(lambda: not site.client.llen("device-status.routine"), "all messages were read")
    states = [site.outcome(each).state for each in ids]
    assert {State.SUCCEEDED, State.DEAD_LETTERED} <= set(states)
    assert worker.terminate() == 0

    output = worker.output
    assert " DEBUG/" in output
    assert ids[6] in output
    assert "incident INC-1" in output
    for secret in (USERNAME, *(command["device_key"] for command in commands)):
        for shape in disguises(secret):
            assert shape not in output, shape

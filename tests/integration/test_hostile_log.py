"""Nobody who sends a command or a message, or answers in the place of AWS, writes in a worker's log."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

import pytest

from device_status import Incidents
from device_status_worker.local import Fault
from device_status_worker.local.wire import Response
from support import wire_object
from support.clock import let_time_pass
from support.hostile import HOSTILE, INVISIBLE_USERNAME, steering
from support.messages import body_of, envelope
from support.site import Site
from support.waiting import eventually

OURS = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+: [A-Z]+/\w+\] ")


def hostile_answer(http_status: int, code: str) -> Fault:
    body = json.dumps({"__type": code, "message": HOSTILE})
    return Fault("hostile", Response(http_status, body.encode(), "application/x-amz-json-1.1"))


# What looks like AWS's ends the command; what does not is tried again for as long as it comes.
FAULTS = [hostile_answer(400, "OddException"), hostile_answer(503, HOSTILE)]


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(update_quota="500", read_quota="500", max_attempts="2") as site:
        yield site


@pytest.mark.timeout(180)
def test_every_line_of_a_workers_log_is_its_own(site: Site) -> None:
    worker = site.start_worker(level="DEBUG").wait_until_ready()
    begun = len(worker.output)
    pool = site.make_pool(INVISIBLE_USERNAME, "ada", "grace")
    commands = site.make_devices(pool, 3, INVISIBLE_USERNAME)
    for command, user, fault in zip(commands, ("ada", "grace"), FAULTS, strict=False):
        site.cognito.faults.add(fault, device_key=command["device_key"], times=3)
        site.cognito.faults.add(fault, operation="AdminListDevices", username=user, times=3)
    ids = [f"{number}{HOSTILE[-250:]}" for number in range(3)]
    texts = {"incident_id": HOSTILE[-256:], "requested_by": HOSTILE[:256], "reason": HOSTILE}
    for command, name in zip(commands, ids, strict=True):
        site.publish(command | texts | {"command_id": name})
    good = body_of({"command": wire_object(command_id=HOSTILE[:256])})
    for raw in (
        HOSTILE.encode(),
        envelope(good, task=HOSTILE),
        envelope(good, headers={"id": HOSTILE}),
        envelope(good, headers={HOSTILE: HOSTILE, "eta": HOSTILE, "compression": HOSTILE}),
        envelope(good, **{"content-type": HOSTILE}),
        envelope(good, **{"content-encoding": HOSTILE}),
        envelope(good, properties={"delivery_info": {"exchange": HOSTILE, "routing_key": HOSTILE}}),
        envelope(base64.b64encode(good).decode() + HOSTILE, properties={"body_encoding": "base64"}),
        envelope(body_of({HOSTILE: HOSTILE})),
    ):
        site.push(raw)
    Incidents(site.settings).open("INC-1", user_pool_id=pool, users=["ada", "grace", INVISIBLE_USERNAME])

    def all_done() -> bool:
        let_time_pass(site.client, 1)
        return all((record := site.producer.lookup(each)) and record.outcome for each in ids)

    eventually(all_done, "all commands have an outcome", 60)
    eventually(lambda: Incidents(site.settings).progress("INC-1").users_open == 0, "all users are done", 60)
    eventually(lambda: not site.client.llen("device-status.routine"), "all messages were read")
    assert worker.terminate() == 0

    output = worker.output
    assert steering(output) == []
    # What was there is seen.
    assert r"command \x1b[2J\x1b[31mred\x1b]52;c;" in output
    for line in output[begun:].splitlines():
        assert OURS.match(line) or line.startswith((" ", "worker: ")) or not line, line

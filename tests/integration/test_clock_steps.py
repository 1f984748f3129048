"""Promises about real workers whose ledger's clock steps while they work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from device_status import Lane, State, parse_command
from support.site import Site
from support.stepping import SteppingValkey, missing, start_stepping_valkey
from support.terminal import run
from support.waiting import eventually

COUNT = 100
PAIRS = 10
"""Of the devices, those with an older command as well, which is published after the newer."""
STEPS = ["back by 600 s", "forward by 600 s", "back by 120 s"]
OFFSETS = [-600, 0, -120]


@pytest.fixture
def site(stepping_valkey: SteppingValkey) -> Iterator[Site]:
    assert missing() is None
    with Site(server=start_stepping_valkey, update_quota="8") as site:
        yield site


def test_every_command_has_one_outcome_whichever_way_the_clock_steps(site: Site) -> None:
    workers = [site.start_worker() for _ in range(2)]
    for worker in workers:
        worker.wait_until_ready()
    server = cast("SteppingValkey", site.valkey)
    pool = site.make_pool("ada")
    now = datetime.now(UTC)
    newest = [
        parse_command(fields | {"status": "not_remembered", "issued_at": now})
        for fields in site.make_devices(pool, COUNT, "ada")
    ]
    older = [
        parse_command(
            {
                "user_pool_id": pool,
                "username": "ada",
                "device_key": each.device_key,
                "status": "remembered",
                "issued_at": now - timedelta(seconds=30),
            }
        )
        for each in newest[:PAIRS]
    ]
    commands = [*newest, *older]
    site.producer.enqueue_many(commands, lane=Lane.ROUTINE)

    def done() -> int:
        return sum(request.operation == "AdminUpdateDeviceStatus" for request in site.requests_for(pool))

    for number, offset in enumerate(OFFSETS, 1):
        eventually(lambda number=number: done() >= number * COUNT // 5, "some are done", 60)
        server.set_clock(offset)
    records = site.outcomes([each.command_id for each in commands], 60)

    assert {record.outcome for record in records[:COUNT]} == {State.SUCCEEDED}
    assert {record.outcome for record in records[COUNT:]} <= {State.SUCCEEDED, State.SUPERSEDED}
    assert site.dead_letters.count_by_error() == {}
    succeeded = sum(record.outcome is State.SUCCEEDED for record in records)
    assert done() == succeeded, "no command ran twice"
    assert {status for _, _, status in site.cognito.devices(pool)} == {"not_remembered"}
    said = "".join(worker.output for worker in workers)
    for step in STEPS:
        assert said.count(f"the ledger's clock stepped {step}") == 1, step
    findings = json.loads(run(site.environment, "doctor", "--json").stdout)
    (warning,) = [each for each in findings if "its clock stepped" in each["finding"]]
    assert (warning["check"], warning["level"]) == ("ledger", "warning")
    assert STEPS[-1] in warning["finding"]

"""Promises of the registry with real workers: different quotas are logged and kept; who ended is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from device_status import Lane, State
from device_status.registry import running
from support.clock import let_time_pass
from support.site import Site
from support.terminal import run
from support.waiting import eventually
from support.workers import WorkerProcess

LOW, HIGH = 25, 200


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def hosts(site: Site) -> list[str]:
    return sorted(each.host for each in running(site.ledger))


def warnings(worker: WorkerProcess) -> list[str]:
    return [line for line in worker.output.splitlines() if "WARNING" in line and "different" in line]


def doctor(site: Site) -> list[tuple[str, str]]:
    """What it finds of the workers: level and finding."""
    findings = json.loads(run(site.environment, "doctor", "--json").stdout)
    return [(each["level"], each["finding"]) for each in findings if each["check"] == "workers"]


def publish(site: Site, count: int) -> tuple[str, list[str]]:
    """Commands for devices of a new pool, a message each; the pool and their ids."""
    pool = site.make_pool("ada")
    commands = [
        {**fields, "command_id": f"{pool}/{number}"}
        for number, fields in enumerate(site.make_devices(pool, count, "ada"))
    ]
    for command in commands:
        site.producer.enqueue(command)
    return pool, [command["command_id"] for command in commands]


def test_workers_with_different_quotas_say_so_once_and_keep_the_lowest(site: Site) -> None:
    low, high = site.start_worker(update_quota=str(LOW)), site.start_worker(update_quota=str(HIGH))
    for worker in (low, high):
        worker.wait_until_ready()
    pool, commands = publish(site, 150)
    site.outcomes(commands, 60)
    assert all(f" {pool}/" in worker.output for worker in (low, high)), "both had a share"
    times = [request.at for request in site.requests_for(pool)]
    # Until the lower one has asked for the first time, nobody knows of it.
    times = [at for at in times if at > times[0] + 2]
    assert len(times) > LOW
    assert max(sum(first <= at < first + 1 for at in times) for first in times) <= LOW + 1

    said = (
        "workers have different quotas for update of default: 25 on worker0@test; 200 on worker1@test; the "
        "lowest of those that asked in the last minute holds; "
        "give all of them the same DEVICE_STATUS_UPDATE_QUOTA"
    )
    for worker in (low, high):
        eventually(lambda worker=worker: warnings(worker), "it warns")
        (warning,) = warnings(worker)
        assert warning.endswith(said)
    problem, work = doctor(site)
    assert problem == ("warning", said)
    assert "running: worker0@test, worker1@test" in work[1]

    assert high.terminate() == 0
    assert hosts(site) == ["worker0@test"]
    assert [level for level, _ in doctor(site)] == ["ok"]
    # Another like it is news.
    site.start_worker(update_quota=str(HIGH)).wait_until_ready()
    eventually(lambda: len(warnings(low)) == 2, "it warns again")
    assert len(warnings(high)) == 1, "and it had warned once in all that time"


def test_an_entry_says_what_the_worker_is_and_vanishes_with_it(site: Site) -> None:
    worker = site.start_worker(lanes=[Lane.URGENT], read_quota="7").wait_until_ready()
    eventually(lambda: hosts(site), "it is registered")
    (entry,) = running(site.ledger)
    assert (entry.host, entry.lanes) == ("worker0@test", ("urgent",))
    assert entry.quotas["default"] == {"update": 25, "read": 7, "list_users": 30}
    worker.kill()
    assert hosts(site) == ["worker0@test"]
    let_time_pass(site.client, 61)
    assert hosts(site) == []
    assert not site.client.keys("device-status:workers*")


def test_no_worker_ends_by_what_it_finds_there(site: Site) -> None:
    site.client.set("device-status:workers", "what no version writes")
    worker = site.start_worker().wait_until_ready()
    eventually(lambda: "the registration met" in worker.output, "it meets that")
    _, (command,) = publish(site, 1)
    assert site.outcome(command).state is State.SUCCEEDED
    site.client.delete("device-status:workers")
    eventually(lambda: hosts(site), "it registers when it can")
    assert worker.output.count("the registration met") == 1
    assert worker.terminate() == 0
    assert hosts(site) == []

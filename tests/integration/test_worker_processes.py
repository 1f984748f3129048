"""Promises of worker processes together: one quota, an orderly end, and no loss by a violent one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device_status import Lane, Producer, State, load_settings
from device_status.ledger import LEASE
from device_status_worker.local import Fault, LocalCognito, Request
from device_status_worker.sweeper import LEADERSHIP
from support.clock import let_time_pass
from support.servers import HOST, free_port, start_valkey
from support.site import Site
from support.waiting import eventually
from support.workers import WorkerProcess

THREADS = 4
VISIBILITY_TIMEOUT = 120
"""Seconds; app.py."""
STOPS_WITHIN = 30.0
"""Seconds that an orderly end may take: the call under way, and Celery's own steps, on a slow machine."""
MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(rabbitmq_url: str) -> Iterator[MakeSite]:
    """Makes the one site of a test."""
    sites: list[Site] = []

    def make(**settings: str) -> Site:
        site = Site(rabbitmq_url, **settings)
        site.__enter__()
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.__exit__(None, None, None)


def most_in_a_second(requests: list[Request]) -> int:
    """Of all seconds, wherever they begin."""
    times = [request.at for request in requests]
    return max(sum(first <= time < first + 1 for time in times) for first in times)


def enqueue(site: Site, count: int, lane: Lane = Lane.ROUTINE) -> tuple[str, list[dict[str, Any]]]:
    """Commands for new devices of a new pool, a message each."""
    pool = site.make_pool("ada")
    commands = site.make_devices(pool, count, "ada")
    for number, command in enumerate(commands):
        command["command_id"] = f"{pool}/{number}"
        site.producer.enqueue(command, lane=lane)
    return pool, commands


def states_of(site: Site, commands: list[dict[str, Any]]) -> list[State]:
    records = [site.producer.lookup(command["command_id"]) for command in commands]
    assert all(records)
    return [record.state for record in records if record]


def nothing_is_left(site: Site) -> bool:
    claims = [
        key for key in site.client.scan_iter("device-status:device:*") if site.client.hget(key, "owner")
    ]
    return not claims and not any(site.ledger.open_count().values())


def test_two_processes_keep_one_quota_in_any_second(make_site: MakeSite) -> None:
    quota = 40
    site = make_site(update_quota=str(quota))
    for worker in [site.start_worker(), site.start_worker()]:
        worker.wait_until_ready()
    pool = site.make_pool("ada")
    commands = [
        {**fields, "command_id": f"{pool}/{number}"}
        for number, fields in enumerate(site.make_devices(pool, 3 * quota, "ada"))
    ]
    site.producer.enqueue_many(commands)
    site.outcomes([command["command_id"] for command in commands], 60)
    requests = site.requests_for(pool)
    assert len(requests) == len(commands)
    assert most_in_a_second(requests) <= quota + 1
    assert all(f" {pool}/" in worker.output for worker in site.workers), "both had a share"


def test_sigterm_ends_a_worker_in_order_and_another_goes_on(make_site: MakeSite) -> None:
    site = make_site(concurrency=str(THREADS), update_quota="200")
    worker = site.start_worker().wait_until_ready()
    slow = site.cognito.faults.add(Fault.delay(1.0))
    pool, commands = enqueue(site, 40)
    assert site.cognito.wait_for_requests(THREADS)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(STOPS_WITHIN) == 0

    assert not [request for request in site.requests_for(pool) if request.response_code == "pending"]
    states = states_of(site, commands)
    assert State.CLAIMED not in states
    assert states.count(State.SUCCEEDED) == len(site.requests_for(pool)) < len(commands)

    site.cognito.faults.remove(slow)
    site.start_worker().wait_until_ready()
    site.outcomes([command["command_id"] for command in commands])
    assert set(states_of(site, commands)) == {State.SUCCEEDED}
    assert len(site.requests_for(pool)) == len(commands), "one call each"
    eventually(lambda: nothing_is_left(site), "nothing is left")


def test_sigterm_ends_a_worker_that_waits_for_a_paused_gate(make_site: MakeSite) -> None:
    site = make_site(concurrency=str(THREADS))
    worker = site.start_worker().wait_until_ready()
    site.cognito.faults.add(Fault.error("ExpiredTokenException"))
    _, commands = enqueue(site, 2 * THREADS)
    eventually(lambda: "ExpiredTokenException" in worker.output, "the gate is paused")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(STOPS_WITHIN) == 0
    assert set(states_of(site, commands)) <= {State.QUEUED, State.RETRY_WAIT}
    assert site.dead_letters.count_by_error() == {}


def test_sigkill_with_work_in_hand_loses_nothing(make_site: MakeSite) -> None:
    site = make_site(concurrency=str(THREADS), update_quota="200")
    worker = site.start_worker().wait_until_ready()
    hanging = site.cognito.faults.add(Fault.hang(8.0))
    _, commands = enqueue(site, 12)
    assert site.cognito.wait_for_requests(THREADS)
    worker.kill()
    assert states_of(site, commands).count(State.CLAIMED) == THREADS

    site.cognito.faults.remove(hanging)
    let_time_pass(site.client, max(LEASE, LEADERSHIP))
    site.start_worker().wait_until_ready()
    site.outcomes([command["command_id"] for command in commands], 60)
    assert set(states_of(site, commands)) == {State.SUCCEEDED}
    assert {site.status_of(command) for command in commands} == {"not_remembered"}
    eventually(lambda: nothing_is_left(site), "nothing is left")


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_message_that_is_delivered_again_overtakes_nothing(is_claimed: bool, make_site: MakeSite) -> None:
    """What it leaves out is the same at each delivery: here its time, and in the first case its id."""
    site = make_site(concurrency="1", update_quota="200")
    first = site.start_worker(lanes=[Lane.ROUTINE]).wait_until_ready()
    hanging = site.cognito.faults.add(Fault.hang(8.0))
    older = site.make_command(status="remembered", command_id="older")
    newer = older | {"status": "not_remembered", "command_id": "newer"}
    if is_claimed:
        del older["command_id"]
        site.publish(older)
    else:
        # The one thread hangs on the command before it.
        site.publish_together(site.make_command(), older)
    assert site.cognito.wait_for_requests(1)
    first.kill()
    site.cognito.faults.remove(hanging)
    let_time_pass(site.client, max(LEASE, LEADERSHIP))

    site.start_worker(lanes=[Lane.URGENT]).wait_until_ready()
    site.publish(newer, lane=Lane.URGENT)
    assert site.outcome("newer", 60).state is State.SUCCEEDED
    # Redis takes a message for lost after a time of its own, in seconds; RabbitMQ has it back already.
    for tag in site.client.zrange("unacked_index", 0, -1):
        site.client.zincrby("unacked_index", -VISIBILITY_TIMEOUT, tag)
    site.start_worker(lanes=[Lane.ROUTINE]).wait_until_ready()
    eventually(lambda: not site.client.exists("unacked"), "the message was delivered again", 60)
    site.fence()
    states = {
        record["command_id"]: record["state"]
        for key in site.client.scan_iter("device-status:command:*")
        if older["device_key"] in (record := site.client.hgetall(key))["command"]
    }
    assert states.pop("newer") == "succeeded"
    assert list(states.values()) == ["superseded"]
    assert site.status_of(older) == "not_remembered"


def test_a_stopped_process_that_goes_on_undoes_nothing(make_site: MakeSite) -> None:
    site = make_site(concurrency=str(THREADS), update_quota="200")
    # Of one lane, so that the newer command is not handed to it: what is, is missed only after a minute.
    stopped = site.start_worker(lanes=[Lane.ROUTINE]).wait_until_ready()
    hanging = site.cognito.faults.add(Fault.delay(3.0, late=True))
    older = site.make_command(status="remembered")
    site.producer.enqueue(older)
    assert site.cognito.wait_for_requests(1)
    stopped.send_signal(signal.SIGSTOP)
    site.cognito.faults.remove(hanging)
    let_time_pass(site.client, max(LEASE, LEADERSHIP))

    site.start_worker().wait_until_ready()
    newer = older | {"command_id": "newer", "status": "not_remembered"}
    site.producer.enqueue(newer, lane=Lane.URGENT)
    assert site.outcome("newer", 60).state is State.SUCCEEDED
    assert site.cognito.wait_for_requests(2, answered=True)
    stopped.send_signal(signal.SIGCONT)
    assert site.outcome(older["command_id"], 60).state in (State.SUPERSEDED, State.SUCCEEDED)
    eventually(lambda: "Lost" in stopped.output, "the stopped worker found its claim lost", 60)
    # The repair of a late request comes when no more of it can be under way.
    let_time_pass(site.client, LEASE)
    eventually(lambda: nothing_is_left(site), "nothing is left", 60)
    assert site.status_of(older) == "not_remembered"


def test_a_worker_that_starts_while_the_servers_are_away_waits_and_goes_on(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://{HOST}:{port}/0"
    with LocalCognito() as cognito:
        pool = cognito.create_pool()
        cognito.add_user(pool, "ada")
        key = cognito.add_device(pool, "ada")
        environment = cognito.environment() | {"DEVICE_STATUS_BROKER_URL": url}
        worker = WorkerProcess(dict(os.environ) | environment, tmp_path / "worker.log").start()
        try:
            eventually(lambda: "Cannot connect" in worker.output, "it tells that it can't connect", 60)
            assert worker.is_alive
            with start_valkey(port):
                producer = Producer(load_settings(broker_url=url))
                command_id = producer.enqueue(
                    user_pool_id=pool, username="ada", device_key=key, status="not_remembered"
                )

                def succeeded() -> bool:
                    record = producer.lookup(command_id)
                    return record is not None and record.state is State.SUCCEEDED

                eventually(succeeded, "it goes on", 60)
                assert worker.terminate() == 0
        finally:
            worker.kill()


def test_a_worker_of_one_lane_leaves_the_others(make_site: MakeSite) -> None:
    site = make_site()
    site.start_worker(lanes=[Lane.URGENT]).wait_until_ready()
    routine, urgent = site.make_command(), site.make_command()
    site.producer.enqueue(routine, lane=Lane.ROUTINE)
    site.producer.enqueue(urgent, lane=Lane.URGENT)
    assert site.outcome(urgent["command_id"]).state is State.SUCCEEDED
    assert states_of(site, [routine]) == [State.QUEUED]

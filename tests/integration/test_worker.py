"""Promises of a running worker, end to end, on both brokers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from device_status import Lane, State
from device_status_worker.local import Fault
from support import wire_object
from support.site import Site
from support.waiting import eventually


@pytest.fixture(scope="module")
def site(rabbitmq_url: str) -> Iterator[Site]:
    """With one worker."""
    with Site(rabbitmq_url, update_quota="500") as site:
        site.start_worker().wait_until_ready()
        yield site


@pytest.fixture(autouse=True)
def _without_faults(site: Site) -> Iterator[None]:
    yield
    site.cognito.faults.clear()
    site.restart_dead_workers()


@pytest.mark.parametrize("lane", Lane)
def test_a_command_changes_its_device_with_one_call(lane: Lane, site: Site) -> None:
    command = site.make_command()
    site.producer.enqueue(command, lane=lane)
    record = site.outcome(command["command_id"])
    (request,) = site.requests_for(command["user_pool_id"])
    assert (record.state, record.lane, record.attempts) == (State.SUCCEEDED, lane, 1)
    assert record.request_id == request.request_id
    assert site.status_of(command) == "not_remembered"


def test_a_thousand_commands_enqueued_twice_make_a_thousand_calls(site: Site) -> None:
    pool = site.make_pool("ada")
    commands = [
        {**fields, "idempotency_key": f"{pool}/{number}", "command_id": f"{pool}/{number}"}
        for number, fields in enumerate(site.make_devices(pool, 1000, "ada"))
    ]
    for _ in range(2):
        report = site.producer.enqueue_many(commands)
        assert (report.accepted, report.refused) == (1000, [])
    records = site.outcomes([command["command_id"] for command in commands])
    site.publish(*commands[:20])  # And some once more, when all is done.
    site.fence()
    assert {record.state for record in records} == {State.SUCCEEDED}
    keys = [request.device_key for request in site.requests_for(pool)]
    assert sorted(keys) == sorted(command["device_key"] for command in commands)


def test_an_older_command_that_arrives_after_a_newer_makes_no_call(site: Site) -> None:
    now = datetime.now(UTC)
    newer = site.make_command(issued_at=now.isoformat())
    older = newer | {
        "command_id": str(uuid.uuid4()),
        "status": "remembered",
        "issued_at": (now - timedelta(microseconds=1)).isoformat(),
    }
    site.producer.enqueue(newer)
    site.outcome(newer["command_id"])
    site.producer.enqueue(older)
    assert site.outcome(older["command_id"]).state is State.SUPERSEDED
    assert len(site.requests_for(newer["user_pool_id"])) == 1
    assert site.status_of(newer) == "not_remembered"


def test_other_content_under_a_known_key_is_a_dead_letter(site: Site) -> None:
    first = site.make_command(idempotency_key=str(uuid.uuid4()))
    other = first | {"command_id": str(uuid.uuid4()), "status": "remembered"}
    site.producer.enqueue(first)
    site.outcome(first["command_id"])
    site.publish(other)
    record = site.outcome(other["command_id"])
    assert (record.state, record.error_code) == (State.DEAD_LETTERED, "IdempotencyConflict")
    assert len(site.requests_for(first["user_pool_id"])) == 1


@pytest.mark.parametrize("code", ["UserNotFoundException", "ResourceNotFoundException"])
def test_what_does_not_exist_is_a_dead_letter_after_one_call(code: str, site: Site) -> None:
    command = site.make_command()
    wrong = {"username": "nobody"} if code.startswith("User") else {"device_key": "us-east-1_0-0"}
    site.producer.enqueue(command | wrong)
    record = site.outcome(command["command_id"])
    assert (record.state, record.error_code, record.attempts) == (State.DEAD_LETTERED, code, 1)
    letter = site.dead_letters.show(command["command_id"])
    assert letter is not None
    (request,) = site.requests_for(command["user_pool_id"])
    assert (letter.error_code, letter.request_id) == (code, request.request_id)


def test_a_redriven_dead_letter_gets_another_outcome(site: Site) -> None:
    command = site.make_command(username="late")
    pool = command["user_pool_id"]
    absent = command | {"username": "later"}
    site.producer.enqueue(absent)
    assert site.outcome(absent["command_id"]).state is State.DEAD_LETTERED
    site.cognito.add_user(pool, "later")
    site.cognito.add_device(pool, "later", absent["device_key"])
    site.dead_letters.redrive(absent["command_id"])
    assert site.outcome(absent["command_id"]).state is State.SUCCEEDED
    assert site.dead_letters.show(absent["command_id"]) is None


def test_an_expired_command_makes_no_call(site: Site) -> None:
    command = site.make_command(expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    site.producer.enqueue(command)
    assert site.outcome(command["command_id"]).state is State.EXPIRED
    assert site.requests_for(command["user_pool_id"]) == []


def test_a_command_from_the_future_is_a_dead_letter(site: Site) -> None:
    command = site.make_command(issued_at=(datetime.now(UTC) + timedelta(minutes=10)).isoformat())
    site.producer.enqueue(command)
    record = site.outcome(command["command_id"])
    assert (record.state, record.error_code) == (State.DEAD_LETTERED, "IssuedInFuture")
    assert site.requests_for(command["user_pool_id"]) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault.error("InternalErrorException", http_status=500),
        Fault.error("TooManyRequestsException"),
        Fault.html(503),
        Fault.answer_lost(),
    ],
    ids=["500", "throttle", "HTML", "answer lost"],
)
def test_a_fault_that_passes_is_retried_until_it_succeeds(fault: Fault, site: Site) -> None:
    command = site.make_command()
    site.cognito.faults.add(fault, device_key=command["device_key"], times=1)
    site.producer.enqueue(command)
    assert site.outcome(command["command_id"]).state is State.SUCCEEDED
    assert len(site.requests_for(command["user_pool_id"])) == 2
    assert site.status_of(command) == "not_remembered"


def test_a_command_without_an_entry_is_entered_on_receipt(site: Site) -> None:
    command = site.make_command()
    site.publish(command)
    assert site.outcome(command["command_id"]).state is State.SUCCEEDED


def test_the_commands_of_one_device_end_in_the_newest_however_they_arrive(site: Site) -> None:
    command = site.make_command()
    now = datetime.now(UTC)
    versions = [
        command
        | {
            "command_id": str(uuid.uuid4()),
            "issued_at": (now + timedelta(milliseconds=number)).isoformat(),
            "status": "not_remembered" if number == 29 else "remembered",
        }
        for number in range(30)
    ]
    order = sorted(versions, key=lambda each: each["command_id"])
    site.publish(*order, *order[:10])
    states = {record.state for record in site.outcomes([each["command_id"] for each in versions])}
    assert states <= {State.SUCCEEDED, State.SUPERSEDED}
    assert site.status_of(command) == "not_remembered"
    eventually(lambda: sum(site.ledger.open_count().values()) == 0, "nothing is left open")


def test_a_chunk_with_a_bad_command_loses_only_that(site: Site) -> None:
    good = [site.make_command() for _ in range(2)]
    bad = wire_object(command_id=f"bad-{uuid.uuid4()}", status=...)
    site.publish_together(good[0], bad, good[1])
    assert {record.state for record in site.outcomes([each["command_id"] for each in good])} == {
        State.SUCCEEDED
    }
    letter = eventually(lambda: site.letter_with(bad["command_id"]), "the bad one is buried")
    assert letter is not None
    assert letter.error_code == "MalformedCommand"

"""A service's program that makes every public call as it may be made: no type checker may complain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import device_status
from device_status import (
    CommandFields,
    DeadLetter,
    DeadLetters,
    DeviceStatusCommand,
    DeviceStatusError,
    EnqueueReport,
    Incidents,
    Lane,
    Producer,
    Progress,
    PublishError,
    Record,
    Refusal,
    Settings,
    State,
    Status,
    Verification,
    load_settings,
    parse_command,
)

POOL = "eu-west-1_Ab12Cd34E"
KEY = "eu-west-1_6f1c2b3a-0000-4000-8000-000000000001"


def enqueue(producer: Producer, lane: Lane, status: Status) -> list[str]:
    fields: CommandFields = {
        "user_pool_id": POOL,
        "username": "ada",
        "device_key": KEY,
        "status": "remembered",
    }
    text_only = {"user_pool_id": POOL, "username": "ada", "device_key": KEY, "status": "remembered"}
    anything: dict[str, Any] = {**text_only}
    command: DeviceStatusCommand = parse_command(fields)
    return [
        producer.enqueue(user_pool_id=POOL, username="ada", device_key=KEY, status="not_remembered"),
        producer.enqueue(
            user_pool_id=POOL,
            username="ada",
            device_key=KEY,
            status=status,
            command_id="evt-1",
            idempotency_key="evt-1/1",
            issued_at=datetime.now(UTC),
            expires_at="2026-05-04T03:02:01Z",
            incident_id=None,
            requested_by="security@example.com",
            reason="laptop stolen",
            schema_version=1,
            lane=lane,
        ),
        producer.enqueue(**fields, lane="urgent"),
        producer.enqueue(fields, lane=Lane.BULK),
        producer.enqueue({"user_pool_id": POOL, "username": "ada", "device_key": KEY, "status": status}),
        producer.enqueue(text_only),
        producer.enqueue(anything),
        producer.enqueue(text_only | {"reason": "laptop stolen"}),
        producer.enqueue(command, lane="routine"),
    ]


def enqueue_many(producer: Producer) -> EnqueueReport:
    def fields() -> Iterator[CommandFields]:
        yield {"user_pool_id": POOL, "username": "ada", "device_key": KEY, "status": Status.REMEMBERED}

    def rows() -> Iterator[dict[str, str]]:
        yield {"user_pool_id": POOL, "username": "ada", "device_key": KEY, "status": "remembered"}

    refused: list[Refusal] = []
    try:
        report = producer.enqueue_many(fields(), lane="bulk", on_refused=refused.append, on_progress=print)
    except PublishError as error:
        done: EnqueueReport | None = error.report
        ids: list[str] = error.command_ids
        print(done, ids)
    report = producer.enqueue_many(rows())
    report = producer.enqueue_many([parse_command(each) for each in fields()], lane=Lane.URGENT)
    numbers: tuple[int, int] = (report.accepted, report.repeated)
    first: tuple[int, str] = (report.refused[0].index, report.refused[0].reason)
    print(numbers, first)
    return report


def look_up(producer: Producer) -> str:
    record: Record | None = producer.lookup("evt-1")
    if record is None:
        return "unknown"
    outcome: State | None = record.outcome
    return f"{record.state} {outcome} {record.error_code} {record.attempts} {record.finished_at}"


async def from_asyncio(producer: Producer) -> Record | None:
    command_id = await producer.aenqueue(
        user_pool_id=POOL, username="ada", device_key=KEY, status="remembered"
    )
    await producer.aenqueue(
        {"user_pool_id": POOL, "username": "ada", "device_key": KEY, "status": "remembered"}, lane="bulk"
    )
    report: EnqueueReport = await producer.aenqueue_many([parse_command({"username": "ada"})], lane="bulk")
    print(report)
    return await producer.alookup(command_id)


def dead_letters(settings: Settings) -> None:
    letters = DeadLetters(settings)
    letter: DeadLetter
    for letter in letters.list(error_code="UserNotFoundException", incident_id="INC-1", limit=5):
        print(letter.id, letter.error_code, letter.command)
    shown: DeadLetter | None = letters.show("evt-1")
    counts: dict[str, int] = letters.count_by_error()
    command_id: str = letters.redrive("evt-1")
    purged: int = letters.purge(older_than=timedelta(days=1))
    print(shown, counts, command_id, purged)


def incidents() -> bool:
    incidents = Incidents()
    incidents.open("INC-1", user_pool_id=POOL, users=["ada"], status="not_remembered", urgent=True)
    incidents.open("INC-2", user_pool_id=POOL, devices=[("ada", KEY)], status=Status.REMEMBERED)
    plan: str = incidents.count(user_pool_id=POOL, users=["ada"])
    progress: Progress = incidents.wait(plan, timeout=60)
    for each in incidents.list():
        print(each.incident_id, each.devices)
    incidents.verify("INC-1")
    verification: Verification | None = incidents.wait_for_verification("INC-1", timeout=60).verification
    print(verification)
    return progress.all_succeeded


def errors(producer: Producer) -> None:
    try:
        producer.enqueue(user_pool_id=POOL, username="ada", device_key=KEY, status="remembered")
    except DeviceStatusError as error:
        print(error)


def producers(settings: Settings) -> str:
    with Producer(broker_url="redis://h", ledger_url="redis://h/1", retention="P30D") as producer:
        same: Producer = producer
        same.close()
    Producer(settings).close()
    version: str = device_status.__version__
    return version


def settings() -> Settings:
    settings = load_settings(broker_url="redis://h", update_quota=20, retention=timedelta(days=1))
    quota: float = settings.update_quota
    print(quota, device_status.Producer(settings).settings.ledger)
    return load_settings()

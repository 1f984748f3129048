"""`device-status doctor`: is everything there, set up safely, and allowed?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import redis
import typer
from amqp.exceptions import AMQPError

from device_status.cli.output import AsJson, Exit, print_json, print_table
from device_status.durability import IN_MEMORY
from device_status.health import (
    clock_warning,
    connection_warnings,
    is_too_old,
    server_warnings,
    unmet_durability,
)
from device_status.ledger import PREFIX, Ledger
from device_status.publisher import BrokerUnavailableError, Publisher
from device_status.rabbitmq_check import problems
from device_status.registry import WorkerEntry, differences, hosts_of, running
from device_status.scripts import connect
from device_status.server_states import said, what_to_do
from device_status.settings import Settings, load_settings
from device_status.urls import Kind, ServerUrl, without_password

_CLOCKS_APART: Final = 5.0
_NO_CREDENTIALS: Final = "no credentials; set AWS_PROFILE or give the host a role"


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    finding: str
    """With what to do about it."""


def doctor(
    user_pool_id: Annotated[
        str | None,
        typer.Option(help="Also ask AWS whether this pool's devices may be changed; changes nothing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check broker, ledger and AWS, and say what to do; exit code 1 with warnings, 4 with errors."""
    settings = load_settings()
    findings = [
        *_checked("ledger", lambda: _ledger(settings)),
        *_checked("broker", lambda: _broker(settings)),
        *_checked("AWS", lambda: _aws(user_pool_id, settings)),
    ]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(["check", "level", "finding"], [(f.check, f.level, f.finding) for f in findings])
    levels = {finding.level for finding in findings}
    if Level.ERROR in levels:
        raise typer.Exit(Exit.UNAVAILABLE)
    if Level.WARNING in levels:
        raise typer.Exit(Exit.NOT_ALL)


def _checked(check: str, run: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from run()
    except (redis.RedisError, BrokerUnavailableError, AMQPError, OSError) as error:
        text = said(error)
        advice = what_to_do(error) or "check the URL, and that the server runs"
        yield Finding(check, Level.ERROR, text if advice in text else f"{text}; {advice}")


def _ledger(settings: Settings) -> Iterator[Finding]:
    for warning in connection_warnings(settings.ledger, name="ledger"):
        yield Finding("ledger", Level.WARNING, warning)
    client = connect(settings.ledger)
    client.ping()
    yield Finding("ledger", Level.OK, f"{without_password(settings.ledger)} answers")
    if version := is_too_old(client):
        yield Finding("ledger", Level.ERROR, f"is of version {version}; 6.2 or later is needed")
    seconds, microseconds = client.time()
    apart = abs(seconds + microseconds / 1e6 - time.time())
    if apart > _CLOCKS_APART:
        yield Finding(
            "ledger", Level.WARNING, f"its clock and this machine's are {apart:.0f} s apart; set up time sync"
        )
    if stepped := clock_warning(client):
        yield Finding("ledger", Level.WARNING, stepped)
    for warning in server_warnings(client, name="ledger"):
        yield Finding("ledger", Level.WARNING, warning)
    yield from _durability(client, settings)
    yield from _workers(settings)


def _durability(client: Any, settings: Settings) -> Iterator[Finding]:
    if settings.required_durability == IN_MEMORY:
        return
    if unmet := unmet_durability(client, settings.required_durability):
        yield Finding("ledger", Level.ERROR, unmet.text.removeprefix("ledger: "))
    else:
        yield Finding(
            "ledger", Level.OK, f"DEVICE_STATUS_DURABILITY={settings.durability}: it confirms writes"
        )


def _workers(settings: Settings) -> Iterator[Finding]:
    ledger = Ledger(settings.ledger)
    workers = running(ledger)
    for difference in differences(workers):
        yield Finding("workers", Level.WARNING, difference.text)
    yield _work(ledger, workers)


def _work(ledger: Ledger, workers: Sequence[WorkerEntry]) -> Finding:
    commands = sum(ledger.open_count().values())
    incidents = ledger.redis.zcard(f"{PREFIX}incidents:active")
    waiting = f"{commands} commands without an outcome, {incidents} incidents with users to be listed"
    # The sweeper's lease: some worker's, and over 5 s after the last one ended.
    if ledger.redis.exists(f"{PREFIX}sweeper"):
        who = f"running: {hosts_of(workers)}" if workers else "at least one runs"
        return Finding("workers", Level.OK, f"{who}; {waiting}")
    if commands or incidents:
        return Finding("workers", Level.WARNING, f"none runs; {waiting}; start one: device-status worker")
    return Finding("workers", Level.OK, "none runs, and nothing waits for one")


def _broker(settings: Settings) -> Iterator[Finding]:
    for warning in connection_warnings(settings.broker_url, name="broker"):
        yield Finding("broker", Level.WARNING, warning)
    Publisher(settings.broker_url).ping()
    yield Finding("broker", Level.OK, f"{without_password(settings.broker_url)} answers")
    if ServerUrl.parse(settings.broker_url).kind is Kind.RABBITMQ:
        for problem in problems(settings.broker_url):
            yield Finding("broker", Level.ERROR, problem)
    elif settings.broker_url != settings.ledger:
        for warning in server_warnings(connect(settings.broker_url), name="broker"):
            yield Finding("broker", Level.WARNING, warning)


def _aws(user_pool_id: str | None, settings: Settings) -> Iterator[Finding]:
    try:
        from device_status_worker.cognito import Cognito  # noqa: PLC0415 - an extra that producers don't install
    except ModuleNotFoundError:
        yield Finding("AWS", Level.OK, "not checked: boto3 belongs to device-status[worker]")
        return
    if user_pool_id is None:
        yield _identity()
        return
    target, cognito = settings.target(user_pool_id), Cognito(connections=1)
    yield _permission(cognito.try_update(target, user_pool_id))
    # Incidents need one more permission.
    if "AccessDenied" in getattr(cognito.try_list(target, user_pool_id), "code", ""):
        needed = "cognito-idp:AdminListDevices (and cognito-idp:ListUsers for --all-users)"
        yield Finding("AWS", Level.WARNING, f"incidents can't list devices; grant {needed}")


def _identity() -> Finding:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1})
    try:
        session = boto3.session.Session(region_name=os.environ.get("AWS_REGION"))
        if session.get_credentials() is None:
            return Finding("AWS", Level.ERROR, _NO_CREDENTIALS)
        identity = session.client("sts", config=config, region_name=session.region_name or "us-east-1")
        account = identity.get_caller_identity()["Account"]
    except ClientError as error:
        said = error.response.get("Error", {})
        return Finding("AWS", Level.WARNING, f"answered {said.get('Code', '')}: {said.get('Message', '')}")
    except BotoCoreError as error:
        return Finding(
            "AWS", Level.ERROR, f"{_without_credentials(str(error))}; check network, Region and credentials"
        )
    return Finding("AWS", Level.OK, f"account {account}; --user-pool-id checks permission")


def _permission(answer: Any) -> Finding:
    """What AWS says to a request to change a device of a user that does not exist."""
    code, message = getattr(answer, "code", ""), _without_credentials(getattr(answer, "message", ""))
    if code in ("", "UserNotFoundException"):
        return Finding("AWS", Level.OK, "AdminUpdateDeviceStatus is allowed for this pool")
    if code == "NoCredentialsError":
        return Finding("AWS", Level.ERROR, _NO_CREDENTIALS)
    if code == "ResourceNotFoundException":
        return Finding("AWS", Level.ERROR, f"{message}; check --user-pool-id and the account")
    if "AccessDenied" in code:
        return Finding("AWS", Level.ERROR, "not allowed; grant cognito-idp:AdminUpdateDeviceStatus")
    if answer.request_id:
        return Finding("AWS", Level.WARNING, f"answered {code}: {message}")
    return Finding("AWS", Level.ERROR, f"{code}: {message}; check network, proxy, Region and credentials")


def _without_credentials(text: str) -> str:
    """botocore's errors repeat the URLs of endpoints and proxies."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)

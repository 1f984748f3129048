"""`device-status send` and `device-status status`: one command, and what became of it."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from device_status.cli.output import AsJson, Exit, fail, finite, print_fields, print_json, print_line
from device_status.command import Lane, Status, parse_command
from device_status.outcomes import Record, State
from device_status.producer import Producer

_POLL = 0.2


def send(
    user_pool_id: Annotated[str, typer.Option(help="As eu-west-1_Ab12Cd34E; names the Region.")],
    username: Annotated[str, typer.Option(help="`-` reads it from standard input, out of sight of `ps`.")],
    device_key: Annotated[str, typer.Option(help="As AdminListDevices returns it.")],
    status: Annotated[Status, typer.Option(help="What the device shall become.")],
    lane: Annotated[Lane, typer.Option(help="How urgent it is.")] = Lane.ROUTINE,
    idempotency_key: Annotated[str | None, typer.Option(help="Default: the command id.")] = None,
    command_id: Annotated[str | None, typer.Option(help="Default: a new UUIDv7.")] = None,
    issued_at: Annotated[str | None, typer.Option(help="RFC 3339 with an offset; default: now.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339; past it no call is made.")] = None,
    incident_id: Annotated[str | None, typer.Option(help="For the audit trail.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="For the audit trail.")] = None,
    reason: Annotated[str | None, typer.Option(help="For the audit trail.")] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="Seconds to wait for the outcome; exit code 0 where it succeeded."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send one command and print its id.

    Example: device-status send --user-pool-id eu-west-1_Ab12Cd34E --username ada
    --device-key eu-west-1_6f1c2b3a-0000-4000-8000-000000000001 --status not_remembered --wait 30
    """
    if username == "-":
        username = sys.stdin.readline().rstrip("\n")
    given = {
        "user_pool_id": user_pool_id,
        "username": username,
        "device_key": device_key,
        "status": status.value,
        "idempotency_key": idempotency_key,
        "command_id": command_id,
        "issued_at": issued_at,
        "expires_at": expires_at,
        "incident_id": incident_id,
        "requested_by": requested_by,
        "reason": reason,
    }
    command = parse_command({name: value for name, value in given.items() if value is not None})
    producer = Producer()
    sent_id = producer.enqueue(command, lane=lane)
    if wait is None:
        print_json({"command_id": sent_id}) if as_json else print_line(sent_id)
        return
    _show(_wait_for_outcome(producer, sent_id, wait), as_json)


def show_status(command_id: str, as_json: AsJson = False) -> None:
    """Show state and outcome of a command; exit code 1 where it is unknown or did not succeed."""
    record = Producer().lookup(command_id)
    if record is None:
        fail(
            Exit.NOT_ALL,
            f"no command {command_id}: never entered, or past the retention",
        )
    _show(record, as_json)


def _wait_for_outcome(producer: Producer, command_id: str, seconds: float) -> Record:
    give_up_at = time.monotonic() + seconds
    while True:
        record = producer.lookup(command_id)
        if record and record.outcome:
            return record
        if time.monotonic() > give_up_at:
            fail(Exit.TIMED_OUT, f"{command_id}: no outcome after {seconds:g} s")
        time.sleep(_POLL)


def _show(record: Record, as_json: bool) -> None:
    fields: dict[str, Any] = record.to_dict()
    if as_json:
        print_json(fields)
    else:
        print_fields(
            {name: value for name, value in fields.items() if name != "command"} | (fields["command"] or {})
        )
    if record.outcome not in (None, State.SUCCEEDED, State.SUPERSEDED):
        raise typer.Exit(Exit.NOT_ALL)

"""The dead letters: what can't succeed as it stands, with the reason; list, show, redrive, purge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from device_status.command import DeviceStatusCommand, Lane
from device_status.errors import DeviceStatusError, PublishError
from device_status.ledger import PREFIX, Ledger, from_ms, own_ms, parse_stored
from device_status.publisher import BrokerUnavailableError, Publisher
from device_status.scripts import ledger_errors
from device_status.settings import Settings, load_settings

_PAGE: Final = 500


class NotRedrivableError(DeviceStatusError):
    """This dead letter would end the same way again; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter: a command that can't succeed, a message that is no command, or a user of an
    incident whose devices can't be listed."""

    id: str
    error_code: str
    error_message: str = field(repr=False)
    request_id: str | None
    attempts: int
    first_at: datetime
    """When the command was entered, or the message received."""
    last_at: datetime
    """When it became a dead letter."""
    command_id: str | None
    lane: Lane | None
    command: DeviceStatusCommand | None
    """None for what is no command."""
    raw: str | None = field(repr=False)
    """The message as received, where it is no command."""
    queue: str | None
    """The queue that such a message came from."""
    incident_id: str | None = None
    """The incident that a command or user is part of; not what a producer's command says of one."""
    username: str | None = field(default=None, repr=False)
    """Personal data: of the command, or the user whose devices can't be listed."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and exports; holds the username."""
        fields = asdict(self)
        fields["command"] = self.command.to_wire() if self.command else None
        fields["first_at"] = self.first_at.isoformat()
        fields["last_at"] = self.last_at.isoformat()
        return fields


class DeadLetters:
    """What operators do with dead letters.

    Parameters:
        settings: default: from the environment.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or load_settings()
        self._ledger = Ledger.of(settings)
        self._publisher = Publisher(settings.broker_url)

    def list(
        self, *, error_code: str | None = None, incident_id: str | None = None, limit: int | None = None
    ) -> Iterator[DeadLetter]:
        """The dead letters, newest first, page by page in constant memory."""
        found = 0
        for letter_id in self._ids():
            letter = self.show(letter_id)
            if (
                letter is None
                or error_code not in (None, letter.error_code)
                or incident_id not in (None, letter.incident_id)
            ):
                continue
            if limit is not None and found == limit:
                return
            found += 1
            yield letter

    def show(self, letter_id: str) -> DeadLetter | None:
        """One dead letter, by its own id or by its command's id; None where there is none."""
        with ledger_errors():
            fields = self._ledger.redis.hgetall(f"{PREFIX}dead-letter:{letter_id}")
            if not fields:
                target = self._ledger.redis.get(f"{PREFIX}id:{letter_id}") or ""
                name = target.removeprefix("dead-letter:").removeprefix("command:")
                fields = self._ledger.redis.hgetall(f"{PREFIX}dead-letter:{name}") if name else {}
        return _letter(fields) if fields else None

    def count_by_error(self) -> dict[str, int]:
        """How many there are of each error code, most first."""
        with ledger_errors():
            counts = self._ledger.redis.hgetall(f"{PREFIX}dead:by-error")
        return dict(sorted(((code, int(n)) for code, n in counts.items()), key=lambda pair: -pair[1]))

    def redrive(self, letter_id: str) -> str:
        """Give a dead-lettered command another life, with a clean count of attempts; a user of an
        incident has his devices listed again.

        Returns:
            Its command id; for a user the id of the dead letter.

        Raises:
            KeyError: no such dead letter.
            NotRedrivableError: it is no command, its idempotency key belongs to another, or its incident
                is not running.
            PublishError: it waits in the ledger now; the sweeper will publish it.
        """
        letter = self.show(letter_id)
        result = self._ledger.scripts.run("redrive", [], letter.id if letter else letter_id)
        match result:
            case ["redriven", lane, command]:
                command_id = str(json.loads(command)["command_id"])
                try:
                    self._publisher.publish([command], Lane(lane))
                except BrokerUnavailableError as error:
                    text = f"{error}; {command_id} waits in the ledger, and the sweeper will publish it"
                    raise PublishError(text, [command_id]) from error
                return command_id
            case ["listed_again"]:
                return letter_id
            case ["not_redrivable", "IncidentOver"]:
                raise NotRedrivableError(f"{letter_id}: its incident is paused, cancelled or over")
            case ["not_redrivable", "IdempotencyConflict"]:
                raise NotRedrivableError(
                    f"{letter_id}: another command holds its idempotency key; send it anew with another key"
                )
            case ["not_redrivable", "ReservedId"]:
                raise NotRedrivableError(f"{letter_id}: its id or key is reserved; send it anew with another")
            case ["not_redrivable", code]:
                raise NotRedrivableError(
                    f"{letter_id}: is no valid command ({code}); correct it and send it anew"
                )
        raise KeyError(letter_id)

    def purge(self, *, older_than: timedelta = timedelta(0)) -> int:
        """Remove those that became dead letters at least `older_than` ago, for good; says how many."""
        return _purge(self._ledger, older_than, "dead")

    def _ids(self) -> Iterator[str]:
        # By time and not by rank: ranks shift while the caller redrives what is listed.
        latest: str | float = "+inf"
        seen: set[str] = set()
        while True:
            with ledger_errors():
                page = self._ledger.redis.zrange(
                    f"{PREFIX}dead",
                    latest,
                    "-inf",
                    desc=True,
                    byscore=True,
                    offset=0,
                    num=_PAGE + len(seen),
                    withscores=True,
                )
            fresh = [(letter_id, at) for letter_id, at in page if letter_id not in seen]
            if not fresh:
                return
            yield from (letter_id for letter_id, _ in fresh)
            oldest = fresh[-1][1]
            seen = {letter_id for letter_id, at in page if at == oldest}
            latest = oldest


def purge_past_retention(ledger: Ledger) -> int:
    """Remove those past the retention, for the sweeper; those of an incident stay as long as the incident."""
    return _purge(ledger, ledger.retention, "dead:aging")


def _purge(ledger: Ledger, older_than: timedelta, which: str) -> int:
    removed = 0
    while True:
        age = int(older_than.total_seconds() * 1000)
        some: int = ledger.scripts.run("purge", [], which, age, _PAGE, own_ms())
        removed += some
        if some < _PAGE:
            return removed


def _letter(fields: dict[str, str]) -> DeadLetter:
    command = parse_stored(fields["command"]) if fields.get("command") else None
    return DeadLetter(
        id=fields["id"],
        error_code=fields["error_code"],
        error_message=fields["error_message"],
        request_id=fields.get("request_id") or None,
        attempts=int(fields["attempts"]),
        first_at=from_ms(fields["first_at"]),
        last_at=from_ms(fields["last_at"]),
        command_id=fields.get("command_id"),
        lane=Lane(fields["lane"]) if fields.get("lane") else None,
        command=command,
        raw=fields.get("raw"),
        queue=fields.get("queue"),
        incident_id=fields.get("incident") or None,
        username=command.username if command else fields.get("username"),
    )

"""The ledger: the record in Redis of every command and its state. It is the truth.

A Celery message is only a hint that can be made again. Every change of state is one Lua script (in
`lua/`): atomic, on the server's clock, and where a claim ends, for its owner alone. The scripts build
some of their keys themselves, so the ledger needs one primary and no Redis Cluster.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from pydantic import ValidationError

from device_status.command import EPOCH, DeviceStatusCommand, Lane, microseconds
from device_status.durability import IN_MEMORY, Durability
from device_status.errors import DeviceStatusError
from device_status.outcomes import (
    Busy,
    Claimed,
    ClaimResult,
    Conflict,
    DeviceBusy,
    Done,
    Entered,
    Held,
    Lost,
    Record,
    Repair,
    Reserved,
    State,
    Waiting,
)
from device_status.scripts import Patience, Scripts, connect, ledger_errors, no_patience, source
from device_status.settings import Settings
from device_status.targets import Target

PREFIX: Final = "device-status:"
CLOCK: Final = f"{PREFIX}clock"
"""Redis key of what is known of steps of the server's clock."""
LEASE: Final = 60.0
"""Seconds that a claim holds: longer than slot wait, connect and read timeout together."""
CLOCKS_RUN_AHEAD: Final = timedelta(minutes=5)
"""How far ahead of the clocks of server and worker a command may be issued."""
AHEAD_MS: Final = int(CLOCKS_RUN_AHEAD.total_seconds() * 1000)
LATE: Final = 30.0
"""Seconds for which a request in doubt may still take effect, behind a proxy or in a queue of the service. A
newer command applied meanwhile is applied once more after them. Longer than a call."""
DEVICE_DELAY: Final = 1.0
"""Seconds after which a command looks again whether its device is free."""


class Ledger:
    """Enter, claim, settle and look up commands. Safe to share among threads, and after a fork.

    Parameters:
        patience: what a change of state does while the server is away; default: raise at once.
        durability: what is waited for before a change of state counts.
    """

    def __init__(
        self,
        url: str,
        *,
        retention: timedelta = timedelta(days=7),
        lease: float = LEASE,
        patience: Patience = no_patience,
        durability: Durability = IN_MEMORY,
    ) -> None:
        self.redis = connect(url)
        self.retention = retention
        self.retention_ms = int(retention.total_seconds() * 1000)
        self._lease = lease
        prelude = source("device_status", "prelude_incident") + source("device_status", "prelude")
        self.scripts = Scripts(
            self.redis, "device_status", prelude=prelude, patience=patience, durability=durability
        )

    @classmethod
    def of(cls, settings: Settings, *, patience: Patience = no_patience) -> Self:
        """The ledger as the settings have it; whoever tells others that something is done uses this."""
        return cls(
            settings.ledger,
            retention=settings.retention,
            patience=patience,
            durability=settings.required_durability,
        )

    def enter(self, commands: Sequence[DeviceStatusCommand], lane: Lane) -> list[Entered]:
        """Write an entry for each command that has none."""
        arguments = [
            text
            for command in commands
            for text in (command.idempotency_key, command.command_id, command.fingerprint, as_json(command))
        ]
        entries = [command_key(command.idempotency_key) for command in commands]
        results = self.scripts.run("enter", entries, lane, self.retention_ms, *arguments)
        return [_entered(result) for result in results]

    def enter_members(
        self, incident_id: str, life: str, commands: Sequence[DeviceStatusCommand], lane: Lane
    ) -> list[Entered]:
        """Write an entry for each of an incident's commands that has none yet, and count its device.

        Parameters:
            life: of the incident, as it was when its commands were made: one that was opened anew under the
                same id since then takes none of them.

        Returns:
            As `enter`; empty where the incident is gone.
        """
        arguments = [
            text
            for command in commands
            for text in (command.command_id, command.fingerprint, as_json(command), command.username)
        ]
        entries = [command_key(command.command_id) for command in commands]
        results = self.scripts.run("members", entries, incident_id, life, lane, *arguments)
        return [_entered(result) for result in results]

    def claim(self, command: DeviceStatusCommand, lane: Lane) -> ClaimResult:
        """Lease the command and its device to a new owner; a command without an entry gets one, in `lane`."""
        return self._claim(command, as_json(command), lane)

    def _claim(self, command: DeviceStatusCommand, text: str, lane: Lane) -> ClaimResult:
        owner = secrets.token_hex(8)
        asked_at = time.monotonic()
        result = self.scripts.run(
            "claim",
            [command_key(command.idempotency_key), device_key(command)],
            command.idempotency_key,
            command.command_id,
            command.fingerprint,
            text,
            lane,
            command.order,
            microseconds(command.issued_at) // 1000,
            "" if command.expires_at is None else microseconds(command.expires_at) // 1000,
            owner,
            int(self._lease * 1000),
            self.retention_ms,
            AHEAD_MS,
            int(DEVICE_DELAY * 1000),
            own_ms(),
        )
        match result:
            case ["claimed", attempts, age_ms]:
                # Counted from before the question, the lease ends here before it ends on the server.
                return Claimed(command, owner, int(attempts), int(age_ms) / 1000, asked_at + self._lease)
            case ["done", outcome, error_code]:
                return Done(State(outcome), error_code)
            case ["busy"]:
                return Busy()
            case ["device_busy"]:
                return DeviceBusy()
            case ["clocks_apart", milliseconds]:
                return Waiting("ClocksApart", int(milliseconds) / 1000)
            case ["held"]:
                return Held()
            case ["conflict"]:
                return Conflict()
            case ["reserved"]:
                return Reserved()
            case ["known_as", stored]:
                # As the text that it is kept as: the scripts write JSON in another way than we do.
                return self._claim(DeviceStatusCommand.model_validate_json(stored), stored, lane)
        raise DeviceStatusError(f"claim.lua answered {result!r}; are scripts of another version loaded?")

    def succeed(self, claim: Claimed, request_id: str) -> Done | Waiting | Lost:
        """Settle: the call was made and accepted; `Waiting` where it must be made once more (`LATE`)."""
        answer = self._settle(claim, State.SUCCEEDED, attempt=True, request_id=request_id)
        match answer:
            case ["again", milliseconds]:
                return Waiting("MayBeUndone", int(milliseconds) / 1000)
        return Done(State.SUCCEEDED) if answer == ["settled"] else Lost()

    def dead_letter(
        self,
        claim: Claimed,
        error_code: str,
        message: str,
        request_id: str = "",
        *,
        attempt: bool = True,
        in_doubt: bool = False,
    ) -> Done | Lost:
        """Settle: the command can't succeed as it stands."""
        answer = self._settle(
            claim,
            State.DEAD_LETTERED,
            attempt=attempt,
            error=(error_code, message),
            request_id=request_id,
            in_doubt=in_doubt,
        )
        return Done(State.DEAD_LETTERED, error_code) if answer == ["settled"] else Lost()

    def retry(
        self,
        claim: Claimed,
        due_in: float,
        error_code: str,
        message: str,
        request_id: str = "",
        *,
        attempt: bool = False,
        in_doubt: bool = False,
    ) -> Waiting | Lost:
        """Settle: try again in `due_in` seconds.

        Parameters:
            attempt: whether this one counts.
            in_doubt: the request may have reached AWS: it may still take effect (`LATE`).
        """
        answer = self._settle(
            claim,
            State.RETRY_WAIT,
            attempt=attempt,
            due_in=due_in,
            error=(error_code, message),
            request_id=request_id,
            in_doubt=in_doubt,
        )
        return Waiting(error_code, due_in) if answer == ["settled"] else Lost()

    def repair(self, claim: Claimed) -> Repair | None:
        """Call where a request left under a claim that turned out `Lost`.

        Returns:
            A command to publish, which applies the device's newest command once more, since that late
            request may have undone it; None where nothing is to be repaired.
        """
        order, owner = claim.command.order, claim.owner
        match self.scripts.run("late", [device_key(claim.command)], order, owner, int(LATE * 1000), own_ms()):
            case ["repair", lane, command]:
                return Repair(command, Lane(lane))
        return None

    def first_received(self, what: str) -> datetime:
        """When this was received first, on the server's clock; the same for twice the retention.

        If that clock and this process's are further apart than a command may be issued ahead, it is the
        latest time that neither takes for the future.
        """
        answer = self.scripts.run(
            "received", [f"{PREFIX}received:{what}"], self.retention_ms, 1000 * own_ms(), AHEAD_MS
        )
        return EPOCH + timedelta(microseconds=int(answer))

    def lookup(self, command_id: str) -> Record | None:
        """What is known of a command; None where nothing is, or no longer (see the retention)."""
        with ledger_errors():
            fields = self.redis.hgetall(command_key(command_id))
            if not fields or fields["command_id"] != command_id:
                target = self.redis.get(f"{PREFIX}id:{command_id}")
                fields = self.redis.hgetall(PREFIX + target) if target else fields
        return _record(fields) if fields else None

    def open_count(self) -> dict[Lane, int]:
        """Commands without an outcome, per lane."""
        with ledger_errors():
            return {
                lane: self.redis.zcard(f"{PREFIX}open:{lane}") + self.redis.zcard(f"{PREFIX}queued:{lane}")
                for lane in Lane
            }

    def _settle(
        self,
        claim: Claimed,
        state: State,
        *,
        attempt: bool,
        due_in: float = 0,
        error: tuple[str, str] = ("", ""),
        request_id: str = "",
        in_doubt: bool = False,
    ) -> list[Any]:
        command = claim.command
        answer: list[Any] = self.scripts.run(
            "settle",
            [command_key(command.idempotency_key), device_key(command)],
            command.idempotency_key,
            claim.owner,
            state,
            command.order,
            self.retention_ms,
            int(attempt),
            int(due_in * 1000),
            *error,
            request_id,
            int(in_doubt * LATE * 1000),
            command.user_pool_id,
            own_ms(),
        )
        return answer


def own_ms() -> int:
    """This process's clock, in milliseconds since 1970: the scripts do not trust the server's alone."""
    return time.time_ns() // 1_000_000


def command_key(idempotency_key: str) -> str:
    """Redis key of a command's entry."""
    return f"{PREFIX}command:{idempotency_key}"


def device_key(command: DeviceStatusCommand) -> str:
    """Redis key of the command's device: its fence and its lease."""
    return f"{PREFIX}device:{command.device_hash}"


def gate_key(target: Target, category: str) -> str:
    """Redis key of the gate before one category of requests to one target."""
    return f"{PREFIX}gate:{target.account}/{target.region}:{category}"


def as_json(command: DeviceStatusCommand) -> str:
    """The command as it is kept and as it travels."""
    return json.dumps(command.to_wire(), ensure_ascii=False, separators=(",", ":"))


def parse_stored(text: str) -> DeviceStatusCommand | None:
    """A command as the ledger holds it; None where another version of the contract wrote it."""
    try:
        return DeviceStatusCommand.model_validate_json(text)
    except ValidationError:
        return None


def from_ms(milliseconds: str | int) -> datetime:
    """A time as the scripts write it."""
    return datetime.fromtimestamp(float(milliseconds) / 1000, UTC)


def _entered(result: str) -> Entered:
    match result:
        case "entered":
            return None
        case "conflict":
            return Conflict()
        case "reserved":
            return Reserved()
    return State(result)


def _record(fields: dict[str, str]) -> Record:
    # A dead letter that has no entry of its own (a conflict) carries no state.
    finished_at = fields.get("finished_at") or fields.get("last_at")
    return Record(
        command_id=fields["command_id"],
        state=State(fields.get("state", State.DEAD_LETTERED)),
        lane=Lane(fields["lane"]),
        attempts=int(fields["attempts"]),
        entered_at=from_ms(fields.get("entered_at") or fields["first_at"]),
        finished_at=from_ms(finished_at) if finished_at else None,
        error_code=fields.get("error_code") or None,
        error_message=fields.get("error_message") or None,
        request_id=fields.get("request_id") or None,
        command=parse_stored(fields["command"]),
    )

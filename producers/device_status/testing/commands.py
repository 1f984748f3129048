"""The commands of a ledger in memory: entered, published, looked up, and given the outcomes a test plays.

The rules are those of `lua/enter.lua`, `lua/members.lua` and `Ledger.lookup`; the tests run the same
scenarios against both.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from device_status.command import DeviceStatusCommand, Lane
from device_status.outcomes import Conflict, Entered, Record, State
from device_status.testing.failures import Failures
from device_status.testing.matching import Sent

_REPORTED_BY_AWS: Final = (State.SUCCEEDED, State.DEAD_LETTERED, State.RETRY_WAIT)
"""A request was made: it counts as an attempt, and has an id."""
_WITH_ERROR: Final = (State.DEAD_LETTERED, State.RETRY_WAIT)


@dataclass(frozen=True, slots=True)
class Played:
    """What becomes of a command."""

    state: State
    error_code: str | None = None
    error_message: str | None = None
    attempts: int | None = None
    """None: one more, if a request was made."""

    def __post_init__(self) -> None:
        if self.state in _WITH_ERROR and not self.error_code:
            raise ValueError(f"{self.state} needs an error_code, such as UserNotFoundException")
        if self.state not in _WITH_ERROR and self.error_code:
            raise ValueError(f"{self.state} has no error_code; only {' and '.join(_WITH_ERROR)} have")


@dataclass(slots=True)
class Entry:
    """A command and what became of it."""

    command: DeviceStatusCommand
    lane: Lane
    incident_id: str | None = None
    state: State = State.QUEUED
    attempts: int = 0
    entered_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None

    def play(self, played: Played) -> None:
        """Move to another state.

        Raises:
            ValueError: no command can get there from here.
        """
        state, redriven = played.state, self.state is State.DEAD_LETTERED and played.state is State.QUEUED
        if self.state.is_outcome and not redriven:
            raise ValueError(
                f"{self.command.command_id} has its outcome, {self.state}, and an outcome is final; "
                "only a dead letter can be queued again"
            )
        if state is State.CANCELLED and self.incident_id is None:
            raise ValueError("only a command of an incident can be cancelled")
        if redriven:
            self.attempts, self.request_id, self.entered_at = 0, None, datetime.now(UTC)
        if played.attempts is not None:
            self.attempts = played.attempts
        elif state in _REPORTED_BY_AWS:
            self.attempts += 1
        if state in _REPORTED_BY_AWS:
            self.request_id = str(uuid.uuid4())
        if state in _WITH_ERROR:
            self.error_code, self.error_message = played.error_code, played.error_message
        elif redriven or state in (State.SUCCEEDED, State.SUPERSEDED):
            self.error_code = self.error_message = None
        self.state = state
        self.finished_at = datetime.now(UTC) if state.is_outcome else None

    def record(self) -> Record:
        """As `lookup` returns it."""
        return Record(
            command_id=self.command.command_id,
            state=self.state,
            lane=self.lane,
            attempts=self.attempts,
            entered_at=self.entered_at,
            finished_at=self.finished_at,
            error_code=self.error_code,
            error_message=self.error_message,
            request_id=self.request_id,
            command=self.command,
        )


class CommandsInMemory:
    """Stands in for `Ledger` and `Publisher`, for what a producer asks of them. Safe among threads."""

    def __init__(self, failures: Failures) -> None:
        self.failures = failures
        self.lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._aliases: dict[str, Entry] = {}
        self._published: dict[str, Sent] = {}
        self._rules: list[tuple[Callable[[Sent], bool], Played]] = []

    def clear(self) -> None:
        """Forget every command and rule."""
        with self.lock:
            for kept in (self._entries, self._aliases, self._published, self._rules):
                kept.clear()

    @property
    def sent(self) -> list[Sent]:
        """What producers published, in order, each command once."""
        with self.lock:
            return list(self._published.values())

    def close(self) -> None:
        """As `Ledger.close` and `Publisher.close`: nothing is connected."""

    def enter(
        self, commands: Sequence[DeviceStatusCommand], lane: Lane, *, bury_refused: bool = True
    ) -> list[Entered]:
        """As `Ledger.enter` where refused commands are only reported."""
        if bury_refused:
            raise NotImplementedError("only workers bury commands, and here is none")
        self.failures.check_ledger()
        with self.lock:
            return [self._enter(command, lane) for command in commands]

    def enter_members(
        self, incident_id: str, _life: str, commands: Sequence[DeviceStatusCommand], lane: Lane
    ) -> list[Entered]:
        """As `Ledger.enter_members`, for an incident that is there."""
        self.failures.check_ledger()
        results: list[Entered] = []
        with self.lock:
            for command in commands:
                known = self._entries.get(command.idempotency_key)
                if known is None:
                    self._entries[command.idempotency_key] = Entry(command, lane, incident_id)
                results.append(known.state if known else None)
        return results

    def members(self, incident_id: str) -> list[Entry]:
        """The commands of an incident, in the order they were entered."""
        with self.lock:
            return [entry for entry in self._entries.values() if entry.incident_id == incident_id]

    def publish(self, commands: Sequence[str], _lane: Lane) -> None:
        """As `Publisher.publish`: workers would take the commands from here."""
        self.failures.check_broker()
        with self.lock:
            for text in commands:
                entry = self._entries[DeviceStatusCommand.model_validate_json(text).idempotency_key]
                if entry.incident_id is None:
                    sent = Sent(entry.command, entry.lane)
                    self._published.setdefault(entry.command.idempotency_key, sent)
                    self._follow_rules(entry, sent)

    def lookup(self, command_id: str) -> Record | None:
        """As `Ledger.lookup`."""
        self.failures.check_ledger()
        with self.lock:
            entry = self._find(command_id)
            return entry.record() if entry else None

    def play(self, command: DeviceStatusCommand | str, played: Played) -> None:
        """Let this become of one command, or of the one with this id.

        Raises:
            LookupError: there is no such command.
            ValueError: it can't get there; see `Entry.play`.
        """
        with self.lock:
            entry = self._find(command) if isinstance(command, str) else self._entry_of(command)
            if entry is None:
                raise LookupError("no such command was enqueued")
            entry.play(played)

    def add_rule(self, fits: Callable[[Sent], bool], played: Played) -> None:
        """Let this become of each command that fits and has no outcome, published before or later."""
        with self.lock:
            self._rules.append((fits, played))
            for key, sent in self._published.items():
                if fits(sent) and not self._entries[key].state.is_outcome:
                    self._entries[key].play(played)

    def _find(self, command_id: str) -> Entry | None:
        entry = self._entries.get(command_id)
        if entry is None or entry.command.command_id != command_id:
            return self._aliases.get(command_id, entry)
        return entry

    def _entry_of(self, command: DeviceStatusCommand) -> Entry | None:
        entry = self._entries.get(command.idempotency_key)
        is_same = entry is not None and entry.command.fingerprint == command.fingerprint
        return entry if is_same else self._aliases.get(command.command_id)

    def _enter(self, command: DeviceStatusCommand, lane: Lane) -> Entered:
        key = command.idempotency_key
        known = self._entries.get(key)
        if known is None:
            entry = self._entries[key] = Entry(command, lane)
        elif known.command.fingerprint != command.fingerprint:
            first = known.command
            return Conflict(first.command_id, known.state, first.issued_at)
        else:
            entry = known
        if command.command_id != key:
            self._aliases.setdefault(command.command_id, entry)
        return known.state if known else None

    def _follow_rules(self, entry: Entry, sent: Sent) -> None:
        # The last that fits wins, so that a test can override what its fixtures planned.
        for fits, played in reversed(self._rules):
            if entry.state is State.QUEUED and fits(sent):
                entry.play(played)
                return

"""Enqueue commands: write the ledger entry, publish the message, say what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from device_status.command import DeviceStatusCommand, Lane, check_unreserved, parse_command
from device_status.errors import InvalidCommandError, PublishError
from device_status.ledger import Ledger, as_json
from device_status.outcomes import Conflict, Entered, Record, Reserved, State
from device_status.publisher import (
    MESSAGES_A_BATCH,
    MOST_COMMANDS_A_MESSAGE,
    BrokerUnavailableError,
    Publisher,
)
from device_status.settings import Settings, load_settings

Command = DeviceStatusCommand | Mapping[str, Any]

COMMANDS_PER_BATCH: Final = MOST_COMMANDS_A_MESSAGE * MESSAGES_A_BATCH
"""`enqueue_many` enters and publishes so many at a time."""


@dataclass(frozen=True, slots=True)
class Life:
    """One life of an incident: its id may be opened anew once it was forgotten."""

    incident_id: str
    life: str
    """As the ledger has it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command of `enqueue_many` that was not accepted."""

    index: int
    """Its place in the iterable, from 0."""
    reason: str
    """What is wrong with it; holds neither username nor device key."""


@dataclass(slots=True)
class EnqueueReport:
    """What `enqueue_many` did."""

    accepted: int = 0
    """Commands that the ledger holds and whose message is published, or that were known before."""
    repeated: int = 0
    """Those among the accepted that the ledger knew already."""
    refused: list[Refusal] = field(default_factory=list)
    """Empty where `on_refused` took them."""


class Producer:
    """Enqueue commands and look them up.

    Safe to share among threads and after a fork; nothing is connected before the first call.

    Parameters:
        settings: default: from the environment.

    Example:
        >>> producer = Producer()
        >>> command_id = producer.enqueue(
        ...     user_pool_id="eu-west-1_Ab12Cd34E", username="ada",
        ...     device_key="eu-west-1_6f1c2b3a-0000-4000-8000-000000000001", status="not_remembered",
        ... )
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self._ledger = Ledger.of(self.settings)
        self._publisher = Publisher(self.settings.broker_url)

    def enqueue(
        self,
        command: Command | None = None,
        /,
        *,
        lane: Lane | str = Lane.ROUTINE,
        **fields: Any,
    ) -> str:
        """Enqueue one command, given whole or as its fields.

        Returns:
            The command id, once the ledger entry is written and the message published. A command
            whose idempotency key belongs to other content is a dead letter at once (`DeadLetters` has it;
            `lookup` tells of the other, where the key is the command id).

        Raises:
            InvalidCommandError: the command breaks the contract.
            LedgerUnavailableError: it is not known whether it was written, or not confirmed to be safe (see
                DEVICE_STATUS_DURABILITY); the call may be repeated with the same command.
            PublishError: the broker did not confirm; the call may be repeated with the same command
                (its id is in the error), without a second effect.
        """
        if command is not None and fields:
            raise TypeError("enqueue takes a command, or its fields, not both")
        checked = _checked(fields if command is None else command)
        enter_and_publish_or_tell(self._ledger, self._publisher, [checked], Lane(lane))
        return checked.command_id

    def enqueue_many(
        self,
        commands: Iterable[Command],
        *,
        lane: Lane | str = Lane.BULK,
        on_refused: Callable[[Refusal], None] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> EnqueueReport:
        """Enqueue any number of commands, in constant memory.

        An error that `commands` itself raises comes through once all that it gave before is enqueued.

        Parameters:
            on_refused: called with each refusal instead of collecting them in the report.
            on_progress: called after each batch with how many commands were looked at so far.

        Raises:
            LedgerUnavailableError, PublishError: as `enqueue`; `PublishError.report` says what was
                done before. Repeating the call with the same commands has no second effect.
        """
        lane, report = Lane(lane), EnqueueReport()
        refuse = on_refused or report.refused.append
        seen = 0
        for batch in _batches(commands):
            good: list[tuple[int, DeviceStatusCommand]] = []
            for index, command in batch:
                try:
                    good.append((index, _checked(command)))
                except InvalidCommandError as error:
                    refuse(Refusal(index, str(error)))
            results = enter_and_publish_or_tell(
                self._ledger, self._publisher, [command for _, command in good], lane, report
            )
            for (index, _), result in zip(good, results, strict=True):
                if isinstance(result, Conflict | Reserved):
                    refuse(Refusal(index, "idempotency_key: belongs to a command with other content"))
                else:
                    report.accepted += 1
                    report.repeated += result is not None
            seen += len(batch)
            if on_progress:
                on_progress(seen)
        return report

    def lookup(self, command_id: str) -> Record | None:
        """State and outcome of a command; None where nothing is known, or no longer (the retention)."""
        return self._ledger.lookup(command_id)

    async def aenqueue(
        self, command: Command | None = None, /, *, lane: Lane | str = Lane.ROUTINE, **fields: Any
    ) -> str:
        """`enqueue`, without blocking the event loop."""
        return await asyncio.to_thread(self.enqueue, command, lane=lane, **fields)

    async def aenqueue_many(
        self, commands: Iterable[Command], *, lane: Lane | str = Lane.BULK
    ) -> EnqueueReport:
        """`enqueue_many`, without blocking the event loop; `commands` is iterated in another thread."""
        return await asyncio.to_thread(self.enqueue_many, commands, lane=lane)

    async def alookup(self, command_id: str) -> Record | None:
        """`lookup`, without blocking the event loop."""
        return await asyncio.to_thread(self.lookup, command_id)


def enter_and_publish_or_tell(
    ledger: Ledger,
    publisher: Publisher,
    commands: Sequence[DeviceStatusCommand],
    lane: Lane,
    report: EnqueueReport | None = None,
    members_of: Life | None = None,
) -> list[Entered]:
    """`enter_and_publish` for callers outside.

    Raises:
        PublishError: instead of BrokerUnavailableError; says what to do.
    """
    try:
        return enter_and_publish(ledger, publisher, commands, lane, members_of)
    except BrokerUnavailableError as error:
        raise PublishError(
            f"{error}; the ledger holds the command: repeat the call with the same command "
            "(it has no second effect), or leave it to the sweeper",
            [command.command_id for command in commands],
            report,
        ) from error


def enter_and_publish(
    ledger: Ledger,
    publisher: Publisher,
    commands: Sequence[DeviceStatusCommand],
    lane: Lane,
    members_of: Life | None = None,
) -> list[Entered]:
    """Enter commands and publish those that need a message; for each what `Ledger.enter` says.

    Parameters:
        members_of: the incident that orders the commands; empty is returned where it is gone.

    Raises:
        BrokerUnavailableError: they are entered, but some or all were not published.
    """
    if not commands:
        return []
    if members_of is None:
        results = ledger.enter(commands, lane)
    else:
        results = ledger.enter_members(members_of.incident_id, members_of.life, commands, lane)
    # What is past `queued` has been received; what is still `queued` may have lost its message.
    waiting = [
        as_json(command)
        for command, result in zip(commands, results, strict=bool(results))
        if result is None or result is State.QUEUED
    ]
    if waiting:
        publisher.publish(waiting, lane)
    return results


def _batches(commands: Iterable[Command]) -> Iterator[list[tuple[int, Command]]]:
    """Commands with their place; an error of theirs comes after the batch that it cut short."""
    numbered = enumerate(commands)
    while True:
        batch: list[tuple[int, Command]] = []
        try:
            for each in islice(numbered, COMMANDS_PER_BATCH):
                batch.append(each)  # list(…) would lose them with the error
        except Exception:
            if batch:
                yield batch
            raise
        if not batch:
            return
        yield batch


def _checked(command: Command) -> DeviceStatusCommand:
    checked = command if isinstance(command, DeviceStatusCommand) else parse_command(command)
    check_unreserved(checked)
    return checked

"""What goes through during a run, and what must come of it: made from the seed alone."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from device_status import DeviceStatusCommand, Lane, Status
from device_status.publisher import APPLY_MANY, queue_name
from support.messages import BAD_MESSAGES, BadMessage, body_of, envelope

UNKNOWN_USER = "nobody"
"""Commands for this user end as dead letters."""
MOST_TOGETHER = 3
"""Commands in a message of a producer without our package."""

Device = tuple[str, str]
"""Username and device key."""


@dataclass(frozen=True)
class Malformed:
    """A message that is no command, and where it is pushed."""

    message: BadMessage
    lane: Lane

    @property
    def raw(self) -> bytes:
        """As it lies in Redis."""
        return self.message.raw


@dataclass(frozen=True)
class Foreign:
    """A message of a producer without our package."""

    commands: tuple[DeviceStatusCommand, ...]
    raw: bytes
    """As it lies in Redis."""
    lane: Lane


Message = Malformed | Foreign
"""What lies in the broker alone."""


@dataclass
class Workload:
    """Commands in the order of publication, messages of others beside them, and what is expected."""

    pool_id: str
    publications: list[DeviceStatusCommand] = field(default_factory=list)
    """Of our own producers, with the repeats."""
    messages: list[Message] = field(default_factory=list)
    """Each is different."""
    unknown: set[str] = field(default_factory=set)
    """Ids of the commands for a user that does not exist."""

    @property
    def own(self) -> dict[str, DeviceStatusCommand]:
        """By command id, without the repeats."""
        return {command.command_id: command for command in self.publications}

    @property
    def malformed(self) -> list[Malformed]:
        """The messages that are no command."""
        return [each for each in self.messages if isinstance(each, Malformed)]

    @property
    def foreign(self) -> list[Foreign]:
        """The messages of producers without our package."""
        return [each for each in self.messages if isinstance(each, Foreign)]

    @property
    def commands(self) -> dict[str, DeviceStatusCommand]:
        """All of them, by id."""
        return self.own | {each.command_id: each for message in self.foreign for each in message.commands}

    def newest(self, lost: Container[str]) -> dict[Device, DeviceStatusCommand]:
        """The newest command of each device, of those that are not lost."""
        newest: dict[Device, DeviceStatusCommand] = {}
        for command in self.commands.values():
            if command.command_id not in lost and command.command_id not in self.unknown:
                device = command.username, command.device_key
                known = newest.get(device)
                if known is None or known.issued_at < command.issued_at:
                    newest[device] = command
        return newest


def make(pool_id: str, devices: Sequence[Device], commands: int, seed: int) -> Workload:
    """`commands` commands for `devices`: several for each, shuffled; 1 % for a user that does not exist.

    One in ten devices belongs to producers without our package. Of our own commands 10 % are published twice,
    and there are 1 % as many messages that are none.
    """
    chance = random.Random(seed)
    load = Workload(pool_id)
    foreign: list[DeviceStatusCommand] = []
    start = datetime.now(UTC) - timedelta(hours=1)
    for number in range(commands):
        place = number % len(devices)
        username, device_key = devices[place]
        unknown = chance.random() < 0.01
        command = DeviceStatusCommand(
            command_id=f"chaos-{seed}-{number}",
            user_pool_id=pool_id,
            username=UNKNOWN_USER if unknown else username,
            device_key=device_key,
            status=chance.choice(list(Status)),
            issued_at=start + timedelta(milliseconds=number),
        )
        (foreign if place % 10 == 0 else load.publications).append(command)
        if unknown:
            load.unknown.add(command.command_id)
    load.publications += chance.sample(load.publications, len(load.publications) // 10)
    chance.shuffle(load.publications)
    load.messages = [*_foreign(foreign, chance), *_malformed(commands // 100, chance)]
    chance.shuffle(load.messages)
    return load


def _foreign(commands: list[DeviceStatusCommand], chance: random.Random) -> Iterator[Foreign]:
    chance.shuffle(commands)
    while commands:
        count = chance.randint(1, MOST_TOGETHER)
        some, commands = tuple(commands[:count]), commands[count:]
        lane = chance.choice(list(Lane))
        fields = [command.to_wire() for command in some]
        place = {"delivery_info": {"exchange": "", "routing_key": queue_name(lane)}}
        raw = (
            envelope(body_of({"command": fields[0]}), properties=place)
            if len(fields) == 1
            else envelope(body_of({"commands": fields}), task=APPLY_MANY, properties=place)
        )
        yield Foreign(some, raw, lane)


def _malformed(count: int, chance: random.Random) -> Iterator[Malformed]:
    kinds = list(BAD_MESSAGES)
    for number in range(count):
        # Each kind in turn, so that a full run has them all.
        make_message = BAD_MESSAGES[kinds[number % len(kinds)]]
        yield Malformed(make_message(f"malformed-{number}"), chance.choice(list(Lane)))

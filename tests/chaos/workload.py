"""What goes through during a run, and what must come of it: made from the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from device_status import DeviceStatusCommand, Lane, Status
from support.messages import BAD_MESSAGES, BadMessage

UNKNOWN_USER = "nobody"
"""Commands for this user end as dead letters."""


@dataclass(frozen=True)
class Malformed:
    """A message that is no command, and where it is pushed."""

    message: BadMessage
    lane: Lane


@dataclass
class Workload:
    """Commands in the order of publication, raw messages among them, and what is expected."""

    pool_id: str
    publications: list[DeviceStatusCommand] = field(default_factory=list)
    """With the repeats."""
    malformed: list[Malformed] = field(default_factory=list)
    """Each is different."""
    newest: dict[tuple[str, str], DeviceStatusCommand] = field(default_factory=dict)
    """By username and device key."""
    unknown: set[str] = field(default_factory=set)
    """Ids of the commands for a user that does not exist."""

    @property
    def commands(self) -> dict[str, DeviceStatusCommand]:
        """By command id, without the repeats."""
        return {command.command_id: command for command in self.publications}


def make(pool_id: str, devices: list[tuple[str, str]], commands: int, seed: int) -> Workload:
    """`commands` commands for `devices`: several for one device, shuffled, 10 % published twice, 1 % for a
    user that does not exist; and 1 % as many messages that are none."""
    chance = random.Random(seed)
    load = Workload(pool_id)
    start = datetime.now(UTC) - timedelta(hours=1)
    for number in range(commands):
        username, device_key = devices[number % len(devices)]
        unknown = chance.random() < 0.01
        command = DeviceStatusCommand(
            command_id=f"chaos-{seed}-{number}",
            user_pool_id=pool_id,
            username=UNKNOWN_USER if unknown else username,
            device_key=device_key,
            status=chance.choice(list(Status)),
            issued_at=start + timedelta(milliseconds=number),
        )
        load.publications.append(command)
        if unknown:
            load.unknown.add(command.command_id)
        else:
            load.newest[username, device_key] = command
    load.publications += chance.sample(load.publications, commands // 10)
    chance.shuffle(load.publications)
    load.malformed = list(_malformed(commands // 100, chance))
    return load


def _malformed(count: int, chance: random.Random) -> Iterator[Malformed]:
    kinds = list(BAD_MESSAGES)
    for number in range(count):
        # Each kind in turn, so that a full run has them all.
        make_message = BAD_MESSAGES[kinds[number % len(kinds)]]
        yield Malformed(make_message(f"malformed-{number}"), chance.choice(list(Lane)))

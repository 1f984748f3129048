"""What a write must survive before anybody acts on it: the setting `DEVICE_STATUS_DURABILITY`.

A Redis answers when the write is in its memory. A crash of its machine, or a failover to a replica that lags,
takes away what it had answered. With `fsync` and `replica` the answer is waited for to be safe from that, by
WAITAOF or WAIT, which stand behind the script on its own connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

MAX_WAIT: Final = 3.0
"""Seconds for which the server waits for its disk or its replicas. Less than the client waits for an answer
(`scripts.ANSWER_TIMEOUT`), so that it is the server that gives up, and says so."""

WAITED_FOR: Final = frozenset(
    {
        # A producer, or whoever opens, steers or verifies an incident, hears that it is done.
        *("enter", "incident_open", "incident_users", "incident_seal", "incident_state", "incident_walk"),
        *("verify_start", "verify_users", "redrive", "purge"),
        # A message is published that means nothing without the entry.
        "members",
        # A request leaves for AWS. Were the claim lost, another worker could apply a newer command meanwhile.
        "claim",
        # The message is acknowledged.
        *("settle", "late", "bury"),
    }
)
"""The scripts on whose answer somebody outside the ledger acts. Any other that is lost is done again."""

_FORM: Final = re.compile(r"memory|fsync|replica(?::([1-9]))?")
_MAX_WAIT_MS: Final = int(MAX_WAIT * 1000)


class Level(StrEnum):
    """Where a write must be."""

    MEMORY = "memory"
    """In the memory of the primary: nothing is waited for."""
    FSYNC = "fsync"
    """In the append-only file of the primary, synced to its disk."""
    REPLICA = "replica"
    """In the memory of replicas as well."""


@dataclass(frozen=True, slots=True)
class Durability:
    """Where a write must be before it counts; make it with `parse`."""

    level: Level = Level.MEMORY
    replicas: int = 0
    """How many must have it, at `REPLICA`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `memory`, `fsync`, `replica` (one replica) or `replica:N`.

        Raises:
            ValueError: says what it must be.
        """
        if not (found := _FORM.fullmatch(text)):
            raise ValueError("must be memory, fsync, replica, or replica:N with N from 1 to 9")
        level = Level(text.partition(":")[0])
        return cls(level, int(found[1] or 1) if level is Level.REPLICA else 0)

    @property
    def command(self) -> tuple[str | int, ...]:
        """The command that waits until the connection's last write is there; empty at `MEMORY`."""
        match self.level:
            case Level.MEMORY:
                return ()
            case Level.FSYNC:
                return "WAITAOF", 1, 0, _MAX_WAIT_MS
            case Level.REPLICA:
                return "WAIT", self.replicas, _MAX_WAIT_MS

    def is_confirmed_by(self, answer: Any) -> bool:
        """Whether this answer to `command` says that the write is there; whatever is unexpected does not.

        Parameters:
            answer: to WAITAOF the counts of primaries (0 or 1) and replicas that synced it, to WAIT the count
                of replicas that have it. It comes when enough have it, or with fewer after `MAX_WAIT`.
        """
        match self.level, answer:
            case Level.FSYNC, [int(primaries), int()]:
                return primaries >= 1
            case Level.REPLICA, int(replicas):
                return replicas >= self.replicas
        return False

    @property
    def unconfirmed(self) -> str:
        """What it means that the confirmation did not come in time, and what to do about it."""
        if self.level is Level.FSYNC:
            return (
                f"its disk did not confirm the write within {MAX_WAIT:g} s, so a crash may lose it; "
                "look at the disk, and set appendfsync always"
            )
        wanted = f"{self.replicas} replica{'s' if self.replicas > 1 else ''}"
        return (
            f"fewer than {wanted} confirmed the write within {MAX_WAIT:g} s, so a failover may lose it; "
            "bring the replicas back (INFO replication shows them)"
        )


IN_MEMORY: Final = Durability()

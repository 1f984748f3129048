"""The sample file, and what must come of each of its lines: decided here, while it is made."""

from __future__ import annotations

import csv
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from device_status import State, Status
from device_status_worker.local import LocalCognito

COLUMNS: Final = (
    "command_id",
    "user_pool_id",
    "username",
    "device_key",
    "status",
    "issued_at",
    "expires_at",
    "reason",
)
DEVICES_A_USER: Final = 3


@dataclass(frozen=True)
class Expected:
    """How a command must end: in one of these outcomes, dead-lettered for this error."""

    outcomes: tuple[State, ...]
    error_code: str | None = None


@dataclass
class Sample:
    """The lines of the file and what must come of them."""

    pool_id: str
    lines: list[list[str]] = field(default_factory=list)
    commands: dict[str, Expected] = field(default_factory=dict)
    """By command id; a line that stands twice is one command."""
    devices: dict[tuple[str, str], Status] = field(default_factory=dict)
    """By username and device key: the status in the end."""
    bad_lines: int = 0
    """Lines that are no command."""
    kinds: Counter[str] = field(default_factory=Counter)
    """How many lines there are of each kind, in words."""

    def write(self, file: Path) -> None:
        """As CSV with a header, for its owner alone, as a file with usernames should be."""
        file.unlink(missing_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([COLUMNS, *self.lines])


def make_sample(cognito: LocalCognito, devices: int) -> Sample:
    """Fill a new pool with users and devices, and order a change of every device."""
    return _Maker(cognito, devices).sample


class _Maker:
    def __init__(self, cognito: LocalCognito, devices: int) -> None:
        self._pool = cognito.create_pool()
        self.sample = Sample(self._pool)
        self._now = datetime.now(UTC)
        chance = random.Random(1)  # noqa: S311 - the same order each time
        groups: list[list[list[str]]] = []
        for number in range(devices):
            username = f"user-{number // DEVICES_A_USER:03}"
            if number % DEVICES_A_USER == 0:
                cognito.add_user(self._pool, username)
            before, ordered = self._statuses(number)
            key = cognito.add_device(self._pool, username, status=before)
            self.sample.devices[username, key] = ordered
            groups.append(self._orders(number, username, key, before, ordered))
        nobody = cognito.add_device(self._pool, "user-000")
        unknown_ones = max(1, devices // 30)
        self.sample.kinds["of an unknown user"] = self.sample.kinds["of an unknown device"] = unknown_ones
        for _ in range(unknown_ones):
            groups.append([self._line("nobody", nobody, error="UserNotFoundException")])
            unknown = f"{self._pool.partition('_')[0]}_00000000-0000-4000-8000-000000000000"
            groups.append([self._line("user-000", unknown, error="ResourceNotFoundException")])
        groups += [[line] for line in self._bad_lines(nobody)]
        self.sample.kinds["that are no command"] = self.sample.bad_lines
        chance.shuffle(groups)
        self.sample.lines = [line for group in groups for line in group]

    @staticmethod
    def _statuses(number: int) -> tuple[Status, Status]:
        # Every order changes something, so that a device which was never reached is seen.
        some = number % 4 == 0
        return (
            (Status.NOT_REMEMBERED, Status.REMEMBERED) if some else (Status.REMEMBERED, Status.NOT_REMEMBERED)
        )

    def _orders(
        self, number: int, username: str, key: str, before: Status, ordered: Status
    ) -> list[list[str]]:
        """The lines about one device: one that counts, and for some a second that must change nothing."""
        lines = [self._line(username, key, ordered)]
        kinds = self.sample.kinds
        kinds["good ones"] += 1
        if number % 15 == 0:
            kinds["older than the line before them"] += 1
            # Issued before, arrives after. It may be applied first, but never last.
            either = (State.SUPERSEDED, State.SUCCEEDED)
            lines.append(self._line(username, key, before, hours_ago=2, ends=either, reason="arrives late"))
        elif number % 15 == 5:
            kinds["repeated"] += 1
            lines.append(lines[0])
        elif number % 60 == 10:
            kinds["expired"] += 1
            lines.append(
                self._line(username, key, before, hours_ago=0.5, expired=True, ends=(State.EXPIRED,))
            )
        elif number % 60 == 40:
            kinds["too old"] += 1
            lines.append(self._line(username, key, before, hours_ago=24 * 30, error="TooOld"))
        return lines

    def _bad_lines(self, key: str) -> list[list[str]]:
        good = dict(zip(COLUMNS, self._line("user-000", key), strict=True))
        del self.sample.commands[good["command_id"]]
        bad = [
            {"status": "forgotten"},
            {"username": ""},
            {"device_key": "no key"},
            {"issued_at": "2026-05-04"},
        ]
        lines = [list((good | each).values()) for each in bad]
        lines.append(list(good.values())[:3])
        self.sample.bad_lines = len(lines)
        return lines

    def _line(
        self,
        username: str,
        key: str,
        status: Status = Status.NOT_REMEMBERED,
        *,
        hours_ago: float = 1,
        expired: bool = False,
        ends: tuple[State, ...] = (State.SUCCEEDED,),
        error: str | None = None,
        reason: str = "",
    ) -> list[str]:
        command_id = f"demo-{len(self.sample.commands):04}"
        self.sample.commands[command_id] = Expected((State.DEAD_LETTERED,) if error else ends, error)
        issued_at = (self._now - timedelta(hours=hours_ago)).isoformat()
        expires_at = (self._now - timedelta(minutes=10)).isoformat() if expired else ""
        return [command_id, self._pool, username, key, status, issued_at, expires_at, reason]

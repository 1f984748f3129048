"""Reads whom an incident is about: usernames, or devices; a bad line is told, and the others are taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import TypeVar

from device_status.cli.importing import format_of, open_source
from device_status.cli.lines import physical_lines, read
from device_status.cli.output import Exit, fail, messages
from device_status.command import Status
from device_status.errors import InvalidCommandError
from device_status.incident_rules import check_device, check_user

T = TypeVar("T")


class Input:
    """What was given for an incident, and how much of it was refused."""

    def __init__(self, user_pool_id: str) -> None:
        self._pool = user_pool_id
        self.taken = 0
        self.refused = 0

    def users(self, name: str) -> Iterator[str]:
        """Usernames, one a line; `-` is standard input. Ends the command where there is none."""
        return _at_least_one(self._users(name), name)

    def devices(self, name: str) -> Iterator[tuple[str, str]]:
        """Usernames and device keys: CSV with a header, or JSON lines; otherwise as `users`."""
        return _at_least_one(self._devices(name), name)

    def _users(self, name: str) -> Iterator[str]:
        with ExitStack() as stack:
            source, _ = open_source(name, stack)
            for number, text in physical_lines(source):
                username = (text or "").strip()
                if text is not None and not username:
                    continue
                if text is None:
                    self._refuse(number, "is no UTF-8, or too long")
                    continue
                try:
                    check_user(self._pool, username)
                except InvalidCommandError as error:
                    self._refuse(number, str(error))
                    continue
                self.taken += 1
                yield username

    def _devices(self, name: str) -> Iterator[tuple[str, str]]:
        with ExitStack() as stack:
            source, _ = open_source(name, stack)
            # The incident gives the status; the columns are those of an import, and need not name it.
            defaults = {"user_pool_id": self._pool, "status": Status.NOT_REMEMBERED.value}
            for line in read(source, format_of(name, source), defaults):
                if line.fields is None:
                    self._refuse(line.number, line.problem)
                    continue
                if line.fields["user_pool_id"] != self._pool:
                    self._refuse(line.number, "user_pool_id: is not the incident's")
                    continue
                try:
                    pair = str(line.fields.get("username", "")), str(line.fields.get("device_key", ""))
                    check_device(self._pool, *pair)
                except InvalidCommandError as error:
                    self._refuse(line.number, str(error))
                    continue
                self.taken += 1
                yield pair

    def _refuse(self, number: int, problem: str) -> None:
        self.refused += 1
        messages.print(f"line {number}: {problem}", markup=False)


def _at_least_one(items: Iterator[T], name: str) -> Iterator[T]:
    # Before anything is opened: an export that failed must not pass for an incident that went well.
    first = next(items, None)
    if first is None:
        fail(Exit.USAGE, f"{name}: names nobody, so nothing was done")
    return chain([first], items)

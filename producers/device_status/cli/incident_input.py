"""Reads whom an incident is about: usernames, or devices; a bad line is listed, and the others are taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TypeVar

import typer

from device_status.cli.files import (
    Record,
    Tally,
    UnreadableFileError,
    open_source,
    read_records,
    read_usernames,
)
from device_status.cli.output import Exit, fail, messages
from device_status.command import Status, parse_command
from device_status.errors import InvalidCommandError, LedgerUnavailableError, PublishError
from device_status.incident_rules import check_user

T = TypeVar("T")


class Input:
    """What was given for an incident, and what became of each line."""

    def __init__(self, user_pool_id: str, status: Status) -> None:
        self._pool = user_pool_id
        self._status = status
        self.tally = Tally()
        self.taken = 0
        """Users or devices that were passed on."""

    def users(self, name: str) -> Iterator[str]:
        """Usernames, one a line; `-` is standard input. Ends the command if there are none."""
        return _at_least_one(self._users(name), name)

    def devices(self, name: str) -> Iterator[tuple[str, str]]:
        """Usernames and device keys: CSV with a header, or JSON lines; otherwise as `users`."""
        return _at_least_one(self._devices(name), name)

    def count(self, new: int, known: int) -> None:
        """Users or devices were taken, as many new ones, and as many that the incident knew."""
        self.tally.accepted += new
        self.tally.repeated += known

    def show(self) -> None:
        """Say what became of the lines, once all are read."""
        if self.tally.file_lines:
            messages.print(str(self.tally), markup=False)

    def exit_by(self) -> None:
        """End with the code that says whether all of it was taken."""
        if mistake := self.tally.mistake():
            fail(Exit.NOT_ALL, mistake)
        if self.tally.refused:
            raise typer.Exit(Exit.NOT_ALL)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Let an error, or Ctrl-C, say how far the input came."""
        try:
            yield
        except (LedgerUnavailableError, PublishError) as error:
            fail(Exit.UNAVAILABLE, f"{error}. {self._so_far()}")
        except UnreadableFileError as error:
            fail(Exit.NOT_ALL, f"{error}. {self._so_far()}")
        except KeyboardInterrupt:
            messages.print(self._so_far(), markup=False)
            raise

    def _so_far(self) -> str:
        return f"{self.tally.so_far()}; the same command again goes on and repeats nothing"

    def _users(self, name: str) -> Iterator[str]:
        with ExitStack() as stack:
            source, _ = open_source(name, stack)
            for record in read_usernames(source, self.tally):
                if record.fields is None:
                    self._refuse(record.number, record.problem)
                    continue
                username = record.fields["username"]
                try:
                    check_user(self._pool, username)
                except InvalidCommandError as error:
                    self._refuse(record.number, str(error))
                    continue
                self.taken += 1
                yield username

    def _devices(self, name: str) -> Iterator[tuple[str, str]]:
        with ExitStack() as stack:
            source, _ = open_source(name, stack)
            defaults = {"user_pool_id": self._pool, "status": self._status.value}
            for record in read_records(source, name, None, defaults, self.tally):
                try:
                    device = self._device(record)
                except InvalidCommandError as error:
                    self._refuse(record.number, str(error))
                    continue
                self.taken += 1
                yield device

    def _device(self, record: Record) -> tuple[str, str]:
        """The device of a line.

        Raises:
            InvalidCommandError: it names none, or orders something else than the incident does.
        """
        if record.fields is None:
            raise InvalidCommandError(record.problem)
        command = parse_command(record.fields)
        for field, value in (("user_pool_id", self._pool), ("status", self._status)):
            if getattr(command, field) != value:
                raise InvalidCommandError(f"{field}: is not the incident's")
        return command.username, command.device_key

    def _refuse(self, number: int, problem: str) -> None:
        self.tally.refused += 1
        messages.print(f"line {number}: {problem}", markup=False)


def _at_least_one(items: Iterator[T], name: str) -> Iterator[T]:
    # Before anything is opened: an export that failed must not pass for an incident that went well.
    first = next(items, None)
    if first is None:
        fail(Exit.USAGE, f"{name}: names nobody, so nothing was done")
    return chain([first], items)

"""What every command shares: where output goes, exit codes, and errors as one line."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any, Final, NoReturn

import redis
import typer
from rich.console import Console
from rich.table import Table

from device_status.errors import (
    DeviceStatusError,
    InvalidCommandError,
    LedgerUnavailableError,
    PublishError,
    SettingsError,
)
from device_status.publisher import BrokerUnavailableError


class Exit(IntEnum):
    """Exit codes; `EXIT_CODES` explains them in each `--help`."""

    OK = 0
    NOT_ALL = 1
    USAGE = 2
    SETTINGS = 3
    UNAVAILABLE = 4
    TIMED_OUT = 5
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 not all of it: something was refused, not found, or did not succeed; "
    "2 wrong usage; 3 wrong settings; 4 ledger, broker or AWS unavailable; 5 not over when the time was; "
    "130 interrupted."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def finite(value: float | None) -> float | None:
    """Callback of options: `nan` and `inf` pass every limit."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("is no finite number")
    return value


messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""For people, on standard error; rich honours NO_COLOR and drops colours where it is no terminal."""


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2))


_FIELDS: Final = 2
"""Columns of a table that shows one thing, a field a line."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people; in a pipe, lines with tabs, headed by the columns."""
    if sys.stdout.isatty():
        table = Table()
        for number, name in enumerate(columns):
            # Folded and not cut: what stands in a table is copied into the next command.
            table.add_column(name, overflow="fold", no_wrap=number == 0 and len(columns) > _FIELDS)
        for row in rows:
            table.add_row(*[_text(value) for value in row])
        Console(highlight=False, markup=False).print(table)
        return
    typer.echo("\t".join(columns))
    for row in rows:
        typer.echo("\t".join(_text(value).replace("\t", " ").replace("\n", " ") for value in row))


def print_fields(fields: Mapping[str, object]) -> None:
    """One thing, a field a line."""
    print_table(["field", "value"], [(name, value) for name, value in fields.items() if value is not None])


def confirm(question: str) -> None:
    """Return where a person says yes; otherwise the command is over, as though it had been interrupted."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        messages.print("nothing was changed; --yes does not ask")
        raise


def fail(code: Exit, text: str) -> NoReturn:
    """End with one line on standard error."""
    messages.print(f"device-status: {text}", markup=False, style="red")
    raise typer.Exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what may go wrong outside this program into one line and an exit code."""
    try:
        yield
    except SettingsError as error:
        fail(Exit.SETTINGS, str(error))
    except InvalidCommandError as error:
        fail(Exit.NOT_ALL, f"refused: {error}")
    except (LedgerUnavailableError, PublishError, BrokerUnavailableError, redis.RedisError) as error:
        fail(Exit.UNAVAILABLE, str(error))
    except DeviceStatusError as error:
        fail(Exit.NOT_ALL, str(error))


def _text(value: object) -> str:
    return "" if value is None else str(value)

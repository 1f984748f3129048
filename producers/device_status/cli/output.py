"""What every command shares: where output goes, exit codes, and errors as one line.

All output goes through here and is cleaned here (`clean.py`), since others wrote part of it. No other module
of the CLI prints.
"""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any, Final, NoReturn

import redis
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from device_status.clean import escaped_json, printable
from device_status.errors import (
    DeviceStatusError,
    IdempotencyConflictError,
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


class SafeConsole(Console):
    """Shows text as it was written: nothing in it is markup, a link or an escape sequence."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text as it is shown; before the layout, so that a table has room for its escapes."""
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does; text that came by another way than `render_str` is cleaned here at the latest."""
        for segment in super().render(renderable, options):
            # Control codes are rich's own, and so are the line feeds between lines.
            lines = segment.text.split("\n")
            yield segment if segment.control else Segment("\n".join(map(printable, lines)), segment.style)


messages = SafeConsole(stderr=True)
"""For people, on standard error; rich honours NO_COLOR and drops colours if it is not a terminal."""


def print_line(text: str) -> None:
    """One line on standard output."""
    typer.echo(printable(text))


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(escaped_json(json.dumps(data, ensure_ascii=False, indent=2)))


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
        SafeConsole().print(table)
        return
    for line in (columns, *rows):
        typer.echo("\t".join(printable(_text(value)) for value in line))


def print_fields(fields: Mapping[str, object]) -> None:
    """One thing, a field a line."""
    print_table(["field", "value"], [(name, value) for name, value in fields.items() if value is not None])


def confirm(question: str) -> None:
    """Return where a person says yes; otherwise the command is over, as though it had been interrupted."""
    try:
        typer.confirm(printable(question), abort=True, err=True)
    except typer.Abort:
        messages.print("nothing was changed; --yes does not ask")
        raise


def fail(code: Exit, text: str) -> NoReturn:
    """End with one line on standard error."""
    messages.print(f"device-status: {text}", style="red")
    raise typer.Exit(code)


def show_usage_error(error: Any) -> int:
    """Show what is wrong with a command line, as click does; returns the exit code."""
    # It quotes what was typed, which may have been pasted from anywhere. If a command is missing it is the
    # help, of many lines.
    error.message = "\n".join(map(printable, error.message.split("\n")))
    error.show()
    return int(getattr(error, "exit_code", Exit.USAGE))


def show_bug(error: Exception) -> int:
    """Show the traceback of what nobody expected; returns the exit code."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        messages.print(line)
    return Exit.NOT_ALL


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what may go wrong outside this program into one line and an exit code."""
    try:
        yield
    except SettingsError as error:
        fail(Exit.SETTINGS, str(error))
    except (InvalidCommandError, IdempotencyConflictError) as error:
        fail(Exit.NOT_ALL, f"refused: {error}")
    except (LedgerUnavailableError, PublishError, BrokerUnavailableError, redis.RedisError) as error:
        fail(Exit.UNAVAILABLE, str(error))
    except DeviceStatusError as error:
        fail(Exit.NOT_ALL, str(error))
    except UnicodeEncodeError as error:
        # Bytes of the command line that are not text in UTF-8 arrive as half characters.
        fail(Exit.USAGE, f"an argument has a character that can't be written in {error.encoding}")


def _text(value: object) -> str:
    return "" if value is None else str(value)

"""`device-status import`: many commands from a file."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from device_status.cli.lines import Format, Told, read
from device_status.cli.output import AsJson, Exit, fail, messages, print_json, print_table
from device_status.command import DeviceStatusCommand, Lane, Status, check_unreserved, parse_command
from device_status.errors import InvalidCommandError, LedgerUnavailableError, PublishError
from device_status.producer import Producer, Refusal


def import_file(
    file: Annotated[str, typer.Argument(help="CSV with a header, or JSON lines; `-` is standard input.")],
    kind: Annotated[
        Format | None, typer.Option("--format", help="Default: by the suffix, else by the first character.")
    ] = None,
    lane: Annotated[Lane, typer.Option(help="How urgent they are.")] = Lane.BULK,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every line and send none.")] = False,
    import_id: Annotated[
        str | None,
        typer.Option(
            help="Names this import: a line sent under the same name before is not sent twice. "
            "Default: the content's SHA-256; for standard input a new one, which is printed."
        ),
    ] = None,
    user_pool_id: Annotated[str | None, typer.Option(help="For lines that give none.")] = None,
    status: Annotated[Status | None, typer.Option(help="For lines that give none.")] = None,
    incident_id: Annotated[str | None, typer.Option(help="For lines that give none.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="For lines that give none.")] = None,
    reason: Annotated[str | None, typer.Option(help="For lines that give none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send the commands of a file; bad lines are listed with their number, the good ones are sent.

    The columns or fields are those of the contract; user_pool_id, username, device_key and status are
    needed. An empty cell means: not given. Of two lines for one device without issued_at, the later wins.
    After an error, the same import again sends what is missing and repeats nothing.

    Example: device-status import devices.csv --status not_remembered --reason "laptop stolen"
    """
    defaults = {
        name: value
        for name, value in {
            "user_pool_id": user_pool_id,
            "status": status and status.value,
            "incident_id": incident_id,
            "requested_by": requested_by,
            "reason": reason,
        }.items()
        if value
    }
    with ExitStack() as stack:
        source, size = open_source(file, stack)
        work = _Import(source, kind or format_of(file, source), defaults, _id(file, import_id, defaults))
        progress = stack.enter_context(_progress_bar(size))
        task = progress.add_task("checking" if dry_run else "sending", total=size, lines=0)

        def on_progress(lines: int) -> None:
            progress.update(task, lines=lines, completed=None if size is None else source.tell())

        work.run(None if dry_run else Producer(), lane, on_progress, progress.console.print)
    summary = {"accepted": work.accepted, "repeated": work.repeated, "refused": work.refused}
    if as_json:
        print_json(summary | {"import_id": work.id, "dry_run": dry_run, "refusals": work.refusals})
    else:
        print_table(list(summary), [list(summary.values())])
        if work.accepted == work.repeated and not dry_run:
            messages.print("nothing new was sent" if work.repeated else "there was nothing to send")
        if work.repeated and not dry_run:
            messages.print(
                "repeated: known from before or from another line, and without effect; another --import-id "
                f"than {work.id} sends lines without a command_id anew"
            )
    if work.refused:
        raise typer.Exit(Exit.NOT_ALL)


@dataclass
class _Import:
    """One run over a file."""

    source: BinaryIO
    kind: Format
    defaults: dict[str, str]
    id: str
    accepted: int = 0
    repeated: int = 0
    refused: int = 0
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """The first thousand; all are told on standard error."""

    def run(self, producer: Producer | None, lane: Lane, on_progress: Any, show: Any) -> None:
        """Send every line, or without a producer only check it."""

        def refuse(number: int, problem: str) -> None:
            self.refused += 1
            if len(self.refusals) < 1000:
                self.refusals.append({"line": number, "reason": problem})
            show(f"line {number}: {problem}", markup=False)

        commands = self._commands(refuse)
        if producer is None:
            self.accepted = sum(1 for _ in commands)
            return
        numbers: dict[int, int] = {}

        def numbered() -> Iterator[DeviceStatusCommand]:
            for index, (number, command) in enumerate(commands):
                numbers[index] = number
                yield command

        def forget(seen: int) -> None:
            # Only the batch under way is kept, so that any file fits.
            for index in [index for index in numbers if index < seen]:
                del numbers[index]
            on_progress(seen)

        def refused(refusal: Refusal) -> None:
            refuse(numbers[refusal.index], refusal.reason)

        try:
            report = producer.enqueue_many(numbered(), lane=lane, on_refused=refused, on_progress=forget)
        except (PublishError, LedgerUnavailableError) as error:
            fail(
                Exit.UNAVAILABLE,
                f"{error}. Stopped at line {max(numbers.values(), default=0)} at the latest; the same import "
                f"with --import-id {self.id} goes on and repeats nothing",
            )
        self.accepted, self.repeated = report.accepted, report.repeated

    def _commands(self, refuse: Told) -> Iterator[tuple[int, DeviceStatusCommand]]:
        began_at = datetime.now(UTC)
        for line in read(self.source, self.kind, self.defaults):
            if line.fields is None:
                refuse(line.number, line.problem)
                continue
            try:
                command = parse_command(self._complete(line.number, line.fields, began_at))
                check_unreserved(command)
            except InvalidCommandError as error:
                refuse(line.number, str(error))
                continue
            yield line.number, command

    def _complete(self, number: int, given: Mapping[str, Any], began_at: datetime) -> dict[str, Any]:
        fields = dict(given)
        fields.setdefault("issued_at", began_at + timedelta(microseconds=number))
        if "command_id" not in fields:
            fields.setdefault("idempotency_key", f"import:{self.id}:{number}")
        return fields


def open_source(name: str, stack: ExitStack) -> tuple[BufferedReader, int | None]:
    """A file or, for `-`, standard input; with its size where it has one."""
    if name == "-":
        return sys.stdin.buffer, None  # type: ignore[return-value]
    try:
        source = stack.enter_context(Path(name).open("rb"))  # noqa: SIM115
        return source, Path(name).stat().st_size if Path(name).is_file() else None
    except OSError as error:
        fail(Exit.USAGE, f"{name}: can't be read: {error.strerror}")


def format_of(name: str, source: BufferedReader) -> Format:
    """By the suffix, else by the first character."""
    suffix = Path(name).suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json"):
        return Format.JSONL
    if suffix == ".csv":
        return Format.CSV
    return Format.JSONL if source.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else Format.CSV


def _id(name: str, given: str | None, defaults: dict[str, str]) -> str:
    if given:
        return given
    if name == "-" or not Path(name).is_file():
        new = secrets.token_hex(8)
        messages.print(f"import id: {new}")
        return new
    with Path(name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(defaults, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _progress_bar(size: int | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn() if size else TextColumn(""),
        TextColumn("{task.fields[lines]} lines"),
        TimeElapsedColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    )

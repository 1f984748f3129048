"""`device-status import`: many commands from a file."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from device_status.cli.files import Format, Record, Tally, UnreadableFileError, open_source, read_records
from device_status.cli.output import AsJson, Exit, fail, messages, print_json, print_table
from device_status.command import DeviceStatusCommand, Lane, Status, check_unreserved, parse_command
from device_status.errors import InvalidCommandError, LedgerUnavailableError, PublishError
from device_status.producer import COMMANDS_PER_BATCH, Producer

_Numbered = tuple[int, DeviceStatusCommand]
"""A command, and the number of its line."""
_Refuse = Callable[[int, str], None]
"""Takes the number of a line and what is wrong with it."""


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
    Every line is accounted for: lines = accepted + repeated + refused; the header, blank lines and lines that
    carry on a record are counted apart. After an error, the same import again sends what is missing and
    repeats nothing.

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
        work = _Import(_id(file, import_id, defaults))
        progress = stack.enter_context(_progress_bar(size))
        task = progress.add_task("checking" if dry_run else "sending", total=size, lines=0)

        def on_progress() -> None:
            progress.update(task, lines=work.tally.lines, completed=None if size is None else source.tell())

        records = read_records(source, file, kind, defaults, work.tally)
        work.run(records, None if dry_run else Producer(), lane, on_progress, progress.console.print)
    tally = work.tally
    if as_json:
        print_json(tally.to_dict() | {"import_id": work.id, "dry_run": dry_run, "refusals": work.refusals})
    else:
        print_table(list(tally.to_dict()), [list(tally.to_dict().values())])
        if not tally.accepted and not dry_run:
            messages.print("nothing new was sent" if tally.repeated else "there was nothing to send")
        if tally.repeated and not dry_run:
            messages.print(
                "repeated: known from before or from another line, and without effect; another --import-id "
                f"than {work.id} sends lines without a command_id anew"
            )
    if mistake := tally.mistake():
        fail(Exit.NOT_ALL, mistake)
    if tally.refused:
        raise typer.Exit(Exit.NOT_ALL)


@dataclass
class _Import:
    """One run over a file."""

    id: str
    tally: Tally = field(default_factory=Tally)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """The first thousand; standard error has them all."""

    def run(
        self,
        records: Iterator[Record],
        producer: Producer | None,
        lane: Lane,
        on_progress: Callable[[], None],
        show: Callable[..., None],
    ) -> None:
        """Send every record, or without a producer only check it.

        An error in the middle ends the command, and says how far it got.
        """

        def refuse(number: int, problem: str) -> None:
            self.tally.refused += 1
            if len(self.refusals) < 1000:
                self.refusals.append({"line": number, "reason": problem})
            show(f"line {number}: {problem}", markup=False)

        commands = self._commands(records, refuse)
        try:
            if producer is None:
                for _ in commands:
                    self.tally.accepted += 1
                return
            while batch := list(islice(commands, COMMANDS_PER_BATCH)):
                self._send(batch, producer, lane, refuse)
                on_progress()
        except (PublishError, LedgerUnavailableError) as error:
            fail(Exit.UNAVAILABLE, f"{error}. {self._so_far()}")
        except UnreadableFileError as error:
            fail(Exit.NOT_ALL, f"{error}. {self._so_far()}")
        except KeyboardInterrupt:
            messages.print(self._so_far(), markup=False)
            raise

    def _so_far(self) -> str:
        return (
            f"{self.tally.so_far()}; the same import with --import-id {self.id} goes on and repeats nothing"
        )

    def _send(self, batch: list[_Numbered], producer: Producer, lane: Lane, refuse: _Refuse) -> None:
        report = producer.enqueue_many([command for _, command in batch], lane=lane)
        for refusal in report.refused:
            number, _ = batch[refusal.index]
            refuse(number, refusal.reason)
        self.tally.accepted += report.accepted - report.repeated
        self.tally.repeated += report.repeated

    def _commands(self, records: Iterator[Record], refuse: _Refuse) -> Iterator[_Numbered]:
        began_at = datetime.now(UTC)
        for record in records:
            if record.fields is None:
                refuse(record.number, record.problem)
                continue
            try:
                command = parse_command(self._complete(record.number, record.fields, began_at))
                check_unreserved(command)
            except InvalidCommandError as error:
                refuse(record.number, str(error))
                continue
            yield record.number, command

    def _complete(self, number: int, given: Mapping[str, Any], began_at: datetime) -> dict[str, Any]:
        fields = dict(given)
        fields.setdefault("issued_at", began_at + timedelta(microseconds=number))
        if "command_id" not in fields:
            fields.setdefault("idempotency_key", f"import:{self.id}:{number}")
        return fields


def _id(name: str, given: str | None, defaults: dict[str, str]) -> str:
    if given:
        return given
    if name == "-" or not Path(name).is_file():
        new = secrets.token_hex(8)
        messages.print(f"import id: {new}")
        return new
    try:
        with Path(name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        fail(Exit.USAGE, f"{name}: can't be read: {error.strerror}")
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

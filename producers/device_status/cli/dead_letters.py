"""`device-status dead-letters …`: see what could not succeed, and decide about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from device_status.cli.output import (
    EXIT_CODES,
    AsJson,
    Exit,
    confirm,
    fail,
    finite,
    messages,
    print_fields,
    print_json,
    print_table,
)
from device_status.dead_letters import DeadLetters
from device_status.errors import NotRedrivableError, UnknownDeadLetterError

app = typer.Typer(no_args_is_help=True, help="What could not succeed: list, show, redrive, purge.")

ErrorCode = Annotated[str | None, typer.Option("--error", help="Only this error code.")]
OfIncident = Annotated[str | None, typer.Option("--incident", help="Only those of this incident.")]


@app.command("list", epilog=EXIT_CODES)
def list_letters(
    error: ErrorCode = None,
    incident: OfIncident = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    by_error: Annotated[bool, typer.Option("--by-error", help="Count them by error code.")] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first."""
    letters = DeadLetters()
    if by_error:
        counts = letters.count_by_error()
        print_json(counts) if as_json else print_table(["error", "count"], list(counts.items()))
        return
    # One more than is shown, to know whether there are more.
    found = list(letters.list(error_code=error, incident_id=incident, limit=limit + 1))
    shown = found[:limit]
    if as_json:
        print_json([letter.to_dict() for letter in shown])
        return
    print_table(
        ["id", "error", "attempts", "last at", "lane or queue", "incident", "username", "message"],
        [
            (
                letter.id,
                letter.error_code,
                letter.attempts,
                letter.last_at.isoformat(timespec="seconds"),
                letter.lane or letter.queue,
                letter.incident_id,
                letter.username,
                letter.error_message,
            )
            for letter in shown
        ],
    )
    if len(found) > limit:
        messages.print("there are more; --limit shows them")
    _tell_if_unknown(error, letters)


@app.command(epilog=EXIT_CODES)
def show(letter_id: str, as_json: AsJson = False) -> None:
    """Show one dead letter whole, by its id or its command's id."""
    letter = DeadLetters().show(letter_id)
    if letter is None:
        fail(Exit.NOT_ALL, f"no dead letter {letter_id}")
    fields = letter.to_dict()
    print_json(fields) if as_json else print_fields(fields | (fields.pop("command") or {}))


@app.command(epilog=EXIT_CODES)
def redrive(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters or of their commands.")] = None,
    error: ErrorCode = None,
    incident: OfIncident = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead-lettered commands again, with a clean count of attempts."""
    letters = DeadLetters()
    if sum([bool(ids), bool(error or incident), everything]) != 1:
        fail(Exit.USAGE, "name dead letters, or give --error CODE or --incident ID, or --all")
    _tell_if_unknown(error, letters)
    # Taken first: a command that fails again at once would be listed, and redriven, for ever.
    chosen = ids or [letter.id for letter in letters.list(error_code=error, incident_id=incident)]
    redriven: list[str] = []
    refused: dict[str, str] = {}
    for letter_id in chosen:
        try:
            redriven.append(letters.redrive(letter_id))
        except UnknownDeadLetterError:
            refused[letter_id] = f"no dead letter {letter_id}"
        except NotRedrivableError as problem:
            refused[letter_id] = str(problem)
    if as_json:
        print_json({"redriven": redriven, "refused": refused})
    else:
        print_table(["redriven", "refused"], [(len(redriven), len(refused))])
        for reason in refused.values():
            messages.print(reason)
    if refused:
        raise typer.Exit(Exit.NOT_ALL)


@app.command(epilog=EXIT_CODES)
def purge(
    older_than: Annotated[
        float, typer.Option(min=0, max=100_000, callback=finite, help="Days; younger ones stay.")
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters for good."""
    letters = DeadLetters()
    if not yes:
        count = sum(letters.count_by_error().values())
        confirm(f"Remove up to {count} dead letters for good?")
    removed = letters.purge(older_than=timedelta(days=older_than))
    print_json({"removed": removed}) if as_json else print_table(["removed"], [(removed,)])


def _tell_if_unknown(error: str | None, letters: DeadLetters) -> None:
    if error and error not in (counts := letters.count_by_error()):
        messages.print(f"no dead letter has the error {error}; there are: {', '.join(counts) or 'none'}")

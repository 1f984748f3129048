"""The command `device-status`: one module a noun; `output.py` is what they share."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from device_status import __version__
from device_status.cli import dead_letters, incident, incident_evidence
from device_status.cli.doctor import doctor
from device_status.cli.importing import import_file
from device_status.cli.output import (
    EXIT_CODES,
    Exit,
    messages,
    one_line_errors,
    print_line,
    show_bug,
    show_usage_error,
)
from device_status.cli.send import send, show_status
from device_status.cli.worker import worker


class _Commands(TyperGroup):
    """Typer would turn both of these into a bare exit code before `main` could see them."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None
        except BrokenPipeError:
            # `| head` has seen enough. Python would complain once more while it closes standard output.
            sys.stdout = None
            raise typer.Exit(Exit.OK) from None


app = typer.Typer(
    cls=_Commands,
    help="Change the remembered status of Amazon Cognito devices.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    # Typer's own tracebacks show local variables, and those hold usernames.
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("send", epilog=EXIT_CODES)(send)
app.command("import", epilog=EXIT_CODES)(import_file)
app.command("status", epilog=EXIT_CODES)(show_status)
app.command("worker", epilog=EXIT_CODES)(worker)
app.command("doctor", epilog=EXIT_CODES)(doctor)
incident.app.command("report", epilog=EXIT_CODES)(incident_evidence.report)
incident.app.command("verify", epilog=EXIT_CODES)(incident_evidence.verify)
incident.app.command("check-report", epilog=EXIT_CODES)(incident_evidence.check)
app.add_typer(incident.app, name="incident", epilog=EXIT_CODES)
app.add_typer(dead_letters.app, name="dead-letters", epilog=EXIT_CODES)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(__version__)
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Change the remembered status of Amazon Cognito devices."""


def main() -> None:
    """Entry point: run a command, and turn what may go wrong into one line and an exit code."""
    try:
        with one_line_errors():
            code = app(standalone_mode=False)
    except typer.Exit as end:
        code = end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        messages.print("device-status: interrupted")
        code = Exit.INTERRUPTED
    except Exception as error:
        is_usage = hasattr(error, "show")  # click's errors
        code = show_usage_error(error) if is_usage else show_bug(error)
    sys.exit(code)

"""Whether a command line is one that `device-status` takes, without running it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import typer

from device_status.cli import app


def problem_of(arguments: Sequence[str], *, may_lack_arguments: bool = False) -> str | None:
    """What `device-status` would say of these arguments, or None where it would run.

    Parameters:
        may_lack_arguments: a command's name alone will do, as it stands in a sentence.
    """
    command: Any = typer.main.get_command(app)
    name, rest = "device-status", list(arguments)
    try:
        while hasattr(command, "commands"):
            if not rest:
                return None if may_lack_arguments else f"{name} needs a command"
            context = command.make_context(name, rest)
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(name, rest)
    except typer.Exit:
        pass  # --help and --version.
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if not (may_lack_arguments and type(error).__name__ == "MissingParameter"):
            return str(error.format_message())
    return None


def commands_in(line: str) -> list[list[str]]:
    """The arguments of each `device-status` that a shell would run for this line, in pipes and lists too."""
    found: list[list[str]] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    is_file = False
    for token in [*lexer, ";"]:
        if set(token) <= set("|;&()"):
            if words[:1] == ["device-status"]:
                found.append(words[1:])
            words = []
        elif set(token) <= set("<>"):
            is_file = True
        elif is_file:
            is_file = False
        elif words or "=" not in token:  # A variable may be set before the command.
            words.append(token)
    return found

"""Writes those parts of the documentation that the code itself says: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined

from device_status import Settings
from device_status.cli import app
from device_status.cli.output import EXIT_CODES
from device_status.schema import schema_text
from device_status_worker.failures import ACTIONS, Action

ROOT = Path(__file__).parents[2]


def write() -> None:
    """Renew every generated part."""
    for file in documents():
        file.write_text(renewed(file.read_text()))
    (ROOT / "docs" / "command.schema.json").write_text(schema_text())


def documents() -> list[Path]:
    """Every page that a newcomer may read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def renewed(page: str) -> str:
    """`page` with each part between `<!-- generated: NAME -->` and `<!-- end -->` as the code says it now."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n{_PARTS[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- generated: (\S+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def settings_table() -> str:
    """Every variable, its default and its meaning."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `DEVICE_STATUS_{name.upper()}` | {_default(field.default)} | {field.description} |")
    return "\n".join(rows)


def exit_codes() -> str:
    """Every exit code of the command."""
    rows = ["| exit code | meaning |", "| --- | --- |"]
    for part in EXIT_CODES.removeprefix("Exit codes: ").rstrip(".").split("; "):
        number, meaning = part.split(" ", 1)
        rows.append(f"| {number} | {meaning} |")
    return "\n".join(rows)


def failures_table() -> str:
    """What becomes of each error of AWS."""
    rows = ["| AWS says | what happens |", "| --- | --- |"]
    for action in Action:
        codes = ", ".join(f"`{code}`" for code, of in ACTIONS.items() if of is action)
        rows.append(f"| {codes} | {action.value} |")
    return "\n".join(rows)


def commands() -> str:
    """Every command with its options."""
    return "\n\n".join(_command(typer.main.get_command(app), "device-status"))


_PARTS = {
    "settings": settings_table,
    "exit-codes": exit_codes,
    "failures": failures_table,
    "commands": commands,
}


def _command(command: Any, name: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for child, each in command.commands.items():
            yield from _command(each, f"{name} {child}")
        return
    context = command.make_context(name, [], resilient_parsing=True)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    words = [f"[{each.name.upper()}]" if not each.required else each.name.upper() for each in arguments]
    yield f"### `{' '.join([name, *words])}`"
    # The examples in the help are for a terminal's width.
    yield "\n\n".join(_one_line(part) for part in (command.help or "").split("\n\n"))
    rows = [f"| `{each.name.upper()}` | {_one_line(each.help or '')} |" for each in arguments]
    for each in options:
        required = " **Required.**" if each.required else ""
        shown, said = each.get_help_record(context) or ("", "")
        default = re.search(r"\[default: ([^\];]+)", said)
        choices = re.search(r"[<\[](\w+(?:\|\w+)+)[>\]]", shown)
        more = f" One of {choices[1].replace('|', ', ')}." if choices else ""
        more += f" Default: `{default[1]}`." if default else ""
        rows.append(f"| `{each.opts[0]}` | {_one_line(each.help or '')}{more}{required} |")
    yield "\n".join(["| | |", "| --- | --- |", *rows])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(value: Any) -> str:
    if value in ("", PydanticUndefined):
        return ""
    if isinstance(value, timedelta):
        return f"{value.days} days" if value.days > 1 else f"{value.total_seconds() / 3600:g} hours"
    return f"`{value}`"


if __name__ == "__main__":
    write()

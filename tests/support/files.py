"""Files of commands, and what `device-status import` makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_status import Lane
from support.broker import take_commands
from support.commands import POOL, device
from support.terminal import run, run_here

HEADER = "user_pool_id,username,device_key,status,reason"


def row(number: int, reason: str = "lost", delimiter: str = ",") -> str:
    """A line of CSV below HEADER, about device `number`."""
    return delimiter.join([POOL, f"user-{number}", device(number), "not_remembered", reason])


def json_line(number: int, **fields: Any) -> str:
    """An object about device `number`."""
    return json.dumps(
        {
            "user_pool_id": POOL,
            "username": f"user-{number}",
            "device_key": device(number),
            "status": "not_remembered",
            **fields,
        }
    )


def text_of(lines: list[str], end: str = "\n") -> str:
    """Lines, each with its end."""
    return "".join(line + end for line in lines)


@dataclass(frozen=True)
class Imported:
    """What an import said and sent."""

    exit_code: int
    output: dict[str, Any] | None
    """None if it printed nothing."""
    errors: list[str]
    """Lines on standard error."""
    commands: list[dict[str, Any]]
    """In the order they were sent."""

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that are not 0."""
        assert self.output is not None, self.errors
        names = ("lines", "accepted", "repeated", "refused", "header", "blank", "continued")
        return {name: count for name in names if (count := self.output.get(name))}

    @property
    def refused(self) -> dict[int, str]:
        """Line number → reason."""
        assert self.output is not None, self.errors
        reasons = {each["line"]: each["reason"] for each in self.output["refusals"]}
        assert len(reasons) == len(self.output["refusals"]), "a line is refused twice"
        return reasons

    @property
    def devices(self) -> list[int]:
        """Numbers of the devices that commands were sent for."""
        return [int(command["device_key"].rpartition("-")[2], 16) for command in self.commands]


def import_file(environment: Mapping[str, str], content: str | bytes, file: Path, *options: str) -> Imported:
    """Write `content` to `file` and import it; the queue must be empty before."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    done = run_here(environment, "import", str(file), "--json", *options)
    return _imported(environment, done.returncode, done.stdout, done.stderr)


def import_stdin(environment: Mapping[str, str], content: str | bytes, *options: str) -> Imported:
    """Import `content` from a pipe, in a process of its own."""
    done = run(environment, "import", "-", "--json", "--import-id", "one", *options, given=content)
    return _imported(environment, done.returncode, done.stdout, done.stderr)


def _imported(environment: Mapping[str, str], code: int, output: str, errors: str) -> Imported:
    assert "Traceback" not in errors
    sent = take_commands(environment["DEVICE_STATUS_BROKER_URL"], Lane.BULK)
    return Imported(code, json.loads(output) if output else None, errors.splitlines(), sent)

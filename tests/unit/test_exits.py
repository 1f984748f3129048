"""One way out: what goes around `cli/output.py` would reach the operator's screen as others wrote it."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
import typer
from rich.table import Table
from rich.text import Text

import device_status
import device_status_worker
from device_status.cli.output import SafeConsole, confirm, messages, print_line, print_table
from support.hostile import HOSTILE, steering

PACKAGES = [Path(package.__file__ or "").parent for package in (device_status, device_status_worker)]
PRINTS = re.compile(
    r"\bprint\(|\becho\(|\bsecho\(|typer\.(confirm|prompt)\(|\bConsole\(|rich\.(text|markup|panel|rule|prompt)\b"
    r"|sys\.(stdout|stderr)\b|__std(out|err)__|warnings\.warn|traceback\.print|faulthandler|\binput\("
)
ALLOWED = {
    "device_status/cli/output.py": "the one way out",
    "device_status/cli/__init__.py": "lets standard output go when its reader has",
    "device_status/cli/private_file.py": "gives standard output to a report, whose writers clean it",
    "device_status/schema.py": "writes our own schema",
    "device_status_worker/app.py": "a wrong setting, before there is a log",
}


def is_of_the_demo(file: Path) -> bool:
    """The demo and the local servers show what they made themselves."""
    return {"demo", "local"} & set(file.parts) != set()


@pytest.mark.parametrize(
    "file",
    [file for package in PACKAGES for file in sorted(package.rglob("*.py")) if not is_of_the_demo(file)],
    ids=lambda file: "/".join(file.parts[-3:]),
)
def test_no_module_prints_by_itself(file: Path) -> None:
    name = next(
        file.relative_to(package.parent) for package in PACKAGES if package in file.parents
    ).as_posix()
    # The console of output.py is the way out.
    code = file.read_text().replace("messages.print(", "").replace("progress.console.print", "")
    assert bool(PRINTS.search(code)) == (name in ALLOWED), PRINTS.search(code)


def test_each_way_out_cleans(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    print_line(HOSTILE)
    print_table([HOSTILE], [(HOSTILE,)])
    messages.print(HOSTILE)
    # Not even in a form that rich shows as it is.
    messages.print(Text(HOSTILE))
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    with pytest.raises(typer.Abort):
        confirm(HOSTILE)
    shown = capsys.readouterr()
    assert steering(shown.out + shown.err) == []
    assert [shown.out.count("[red]r[/red]"), shown.err.count("[red]r[/red]")] == [3, 3]


def test_a_table_has_room_for_the_escapes_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cleaned after its layout, a cell would be longer than its column."""
    monkeypatch.setenv("COLUMNS", "80")
    table = Table("reason")
    table.add_row("red\x1b[31m gpj\u202e")
    SafeConsole().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1, lines
    assert r"│ red\x1b[31m gpj\u202e │" in lines

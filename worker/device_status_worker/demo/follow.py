"""Follows commands until all have an outcome: a bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from device_status.ledger import Ledger
from device_status_worker.demo.system import DemoError

POLL: Final = 0.25
LINE_EVERY: Final = 5.0
"""Seconds between two lines in a pipe."""


def follow(
    ledger: Ledger, commands: int, console: Console, *, timeout: float, check: Callable[[], None]
) -> None:
    """Wait until each of the ledger's `commands` has an outcome.

    Parameters:
        timeout: seconds.
        check: called between two looks; raises where waiting is in vain.

    Raises:
        DemoError: not all had an outcome in time.
    """
    began_at = next_line_at = time.monotonic()
    progress = Progress(
        TextColumn("commands with an outcome"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=commands)
        while True:
            waiting = sum(ledger.open_count().values())
            progress.update(task, completed=commands - waiting)
            if not console.is_terminal and (not waiting or time.monotonic() > next_line_at):
                console.print(f"commands with an outcome: {commands - waiting} of {commands}")
                next_line_at += LINE_EVERY
            if not waiting:
                return
            check()
            if time.monotonic() > began_at + timeout:
                raise DemoError(f"{waiting} commands had no outcome after {timeout:.0f} s")
            time.sleep(POLL)

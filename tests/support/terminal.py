"""`device-status` as people and scripts run it: a process of its own, in a pipe or at a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final
from unittest.mock import patch

from device_status.cli import main

COMMAND: Final = Path(sys.executable).with_name("device-status")
TIMEOUT: Final = 60.0


def run(
    environment: Mapping[str, str], *arguments: str, given: str | bytes = ""
) -> subprocess.CompletedProcess[str]:
    """Run it in pipes, with `given` as its standard input."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment,
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def run_at_terminal(
    environment: Mapping[str, str], *arguments: str, columns: int = 200, given: str = ""
) -> str:
    """Run it at a terminal so wide, where `given` is typed; what that showed."""
    ours, theirs = pty.openpty()
    os.write(ours, given.encode())
    with subprocess.Popen(
        [COMMAND, *arguments],
        env={**environment, "TERM": "xterm-256color", "COLUMNS": str(columns)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        return read_to_the_end(ours).decode()


def read_to_the_end(terminal: int) -> bytes:
    """What it shows until its last user is gone; then it is closed."""
    shown = b""
    try:
        while some := os.read(terminal, 65536):
            shown += some
    except OSError:
        pass  # How a terminal says that its last user is gone.
    finally:
        os.close(terminal)
    return shown


def run_here(
    environment: Mapping[str, str], *arguments: str, given: str | bytes = ""
) -> subprocess.CompletedProcess[str]:
    """As `run`, but in this process: for tests that run it hundreds of times."""
    raw = io.BytesIO(given.encode() if isinstance(given, str) else given)
    out, messages = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment, clear=True))
        stack.enter_context(patch.object(sys, "argv", ["device-status", *arguments]))
        stack.enter_context(patch.object(sys, "stdin", io.TextIOWrapper(raw)))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(messages))
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), messages.getvalue())

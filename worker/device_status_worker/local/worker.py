"""A worker process of one's own, for the demo and for tests of other services."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .guard import Guard

START_TIMEOUT: Final = 60
"""Seconds that a worker has until it takes messages."""
STOP_TIMEOUT: Final = 15
"""Seconds that a worker has to give back what it holds."""
_POLL: Final = 0.1
_SHOWN: Final = 2000


class WorkerError(RuntimeError):
    """A worker did not start, or has ended; the message has the end of its log."""


class LocalWorker:
    """`celery -A device_status_worker worker`, as a context manager.

    It ends with this process, even if that is killed (`guard.py`).

    Parameters:
        environment: all of the worker's variables.
        log: file for what it writes.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log

    def __enter__(self) -> Self:
        self._guard = Guard()
        try:
            self._process = self._start()
        except BaseException:
            self._guard.disarm()
            raise
        self._guard.arm(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._guard.disarm()

    def terminate(self) -> None:
        """Let it end; leaving the context waits for that."""
        self._process.terminate()

    @property
    def output(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="backslashreplace")

    def check(self) -> None:
        """Raises WorkerError if it has ended."""
        if (code := self._process.poll()) is not None:
            raise WorkerError(f"ended with exit code {code}:\n{self.output[-_SHOWN:]}")

    def wait_until_ready(self) -> None:
        """Return when it takes messages.

        Raises:
            WorkerError: it does not, in time.
        """
        give_up_at = time.monotonic() + START_TIMEOUT
        while " ready." not in self.output:
            self.check()
            if time.monotonic() > give_up_at:
                raise WorkerError(f"was not ready after {START_TIMEOUT} s:\n{self.output[-_SHOWN:]}")
            time.sleep(_POLL)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "device_status_worker", "worker", "-l", "INFO"],
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C goes to all of a terminal's group; the workers are stopped in order instead.
                start_new_session=True,
            )

"""A worker process as people start it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from device_status import Lane
from device_status.publisher import queue_name
from device_status_worker.local.guard import Guard
from support.waiting import eventually

START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 60.0


class WorkerProcess:
    """`celery -A device_status_worker worker`; it ends with this process, however that ends."""

    def __init__(
        self, environment: dict[str, str], log: Path, *, level: str = "INFO", lanes: Iterable[Lane] = ()
    ) -> None:
        self._environment = environment
        self._log = log
        self._options = ["-n", f"{log.stem}@test", "--loglevel", level]
        if names := ",".join(queue_name(lane) for lane in lanes):
            self._options += ["-Q", names]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._written = 0

    def start(self) -> Self:
        """Start it; `wait_until_ready` returns when it takes messages."""
        self._written = len(self.output)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "device_status_worker",
                    "worker",
                    *self._options,
                ],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = Guard()
        self._guard.arm(self._process.pid)
        return self

    def wait_until_ready(self) -> Self:
        """Return when it consumes."""

        def is_ready() -> bool:
            assert self.is_alive, f"the worker ended:\n{self.output}"
            return " ready." in self.output[self._written :]

        eventually(is_ready, "the worker is ready", START_TIMEOUT)
        return self

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def wait(self, seconds: float = STOP_TIMEOUT) -> int:
        """Wait for its end, at most so long; its exit code."""
        assert self._process is not None
        code = self._process.wait(seconds)
        self._disarm()
        return code

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._disarm()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def catches(self, number: int) -> bool:
        """Whether it has a handler for this signal by now; without one, the signal ends it at once."""
        if not self.is_alive:
            return False
        status = Path(f"/proc/{self.pid}/status").read_text()
        (caught,) = re.findall(r"^SigCgt:\t([0-9a-f]+)$", status, re.MULTILINE)
        return bool(int(caught, 16) >> (number - 1) & 1)

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr so far."""
        # Not as text, which would make a line feed of a carriage return.
        return self._log.read_bytes().decode(errors="backslashreplace") if self._log.is_file() else ""

    def _disarm(self) -> None:
        if self._guard is not None:
            self._guard.disarm()
            self._guard = None

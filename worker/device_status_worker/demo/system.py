"""Everything the demo starts: Valkey, a local Amazon Cognito, workers; all of it ends with the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from device_status import Settings, load_settings
from device_status_worker.local import EmbeddedValkey, LocalCognito
from device_status_worker.local.guard import Guard

WORKERS: Final = 2
START_TIMEOUT: Final = 60
"""Seconds that the workers have until they take messages."""
POLL: Final = 0.1
STOP_TIMEOUT: Final = 15
"""Seconds that a worker has to give back what it holds."""


class DemoError(Exception):
    """The demo can't go on; the text says why."""


class System:
    """Servers and workers, from `with` to its end; a killed demo leaves none behind either.

    Parameters:
        folder: where the workers' logs go.
        quota: requests a second that the local Cognito serves, and that the workers are given.
    """

    def __init__(self, folder: Path, quota: int) -> None:
        self.cognito = LocalCognito(quota={"AdminUpdateDeviceStatus": quota})
        self._valkey = EmbeddedValkey(append_only=True)
        self._quota = quota
        self._folder = folder
        self._workers: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._valkey)
            stack.enter_context(self.cognito)
            for number in range(1, WORKERS + 1):
                log = self._folder / f"worker-{number}.log"
                self._start_worker(log, stack)
                self._logs.append(log)
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All at once first; then each is waited for.
        for worker in self._workers:
            worker.terminate()
        self._exits.close()

    @property
    def settings(self) -> Settings:
        """For look-ups from this process."""
        return load_settings(broker_url=self._valkey.url, ledger_url=self._valkey.url)

    @property
    def environment(self) -> dict[str, str]:
        """For workers and commands."""
        return {
            **os.environ,
            **self.cognito.environment(),
            "DEVICE_STATUS_BROKER_URL": self._valkey.url,
            "DEVICE_STATUS_UPDATE_QUOTA": str(self._quota),
        }

    def run(self, *arguments: str) -> int:
        """Run `device-status …`, with its output where ours goes; returns its exit code."""
        command = Path(sys.executable).with_name("device-status")
        # In a session of its own Ctrl-C reaches us alone; `run` then ends it.
        return subprocess.run(  # noqa: S603
            [command, *arguments], env=self.environment, check=False, start_new_session=True
        ).returncode

    def wait_until_ready(self) -> None:
        """Return when all workers take messages.

        Raises:
            DemoError: they do not, in time.
        """
        give_up_at = time.monotonic() + START_TIMEOUT
        while not all(b" ready." in log.read_bytes() for log in self._logs):
            self.check_workers()
            if time.monotonic() > give_up_at:
                raise DemoError(f"the workers were not ready after {START_TIMEOUT} s")
            time.sleep(POLL)

    def check_workers(self) -> None:
        """Raises DemoError where a worker has ended."""
        for number, worker in enumerate(self._workers, 1):
            if worker.poll() is not None:
                raise DemoError(f"worker {number} ended with exit code {worker.returncode}")

    def _start_worker(self, log: Path, stack: ExitStack) -> None:
        guard = Guard()
        stack.callback(guard.disarm)
        with log.open("wb") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "device_status_worker", "worker", "-l", "INFO"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C goes to all of a terminal's group; the workers are stopped in order instead.
                start_new_session=True,
            )
        stack.callback(_stop, worker)
        guard.arm(worker.pid)
        self._workers.append(worker)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()

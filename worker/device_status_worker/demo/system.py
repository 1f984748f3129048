"""Everything the demo starts: Valkey, a local Amazon Cognito, workers; all of it ends with the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from device_status import Settings, load_settings
from device_status_worker.local import EmbeddedValkey, LocalCognito
from device_status_worker.local.worker import LocalWorker, WorkerError

WORKERS: Final = 2


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
        self._workers: list[LocalWorker] = []
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._valkey)
            stack.enter_context(self.cognito)
            for number in range(1, WORKERS + 1):
                worker = LocalWorker(self.environment, self._folder / f"worker-{number}.log")
                self._workers.append(stack.enter_context(worker))
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
        for number, worker in enumerate(self._workers, 1):
            with _demo_errors(number):
                worker.wait_until_ready()

    def check_workers(self) -> None:
        """Raises DemoError where a worker has ended."""
        for number, worker in enumerate(self._workers, 1):
            with _demo_errors(number):
                worker.check()


@contextmanager
def _demo_errors(number: int) -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        # The first line: the log is in a file.
        raise DemoError(f"worker {number} {str(error).partition(':')[0]}") from error

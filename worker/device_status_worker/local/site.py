"""Valkey, a local Cognito and one worker process: what `device_status.testing.worker` starts."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self
from unittest.mock import patch

from device_status import Incidents, Producer, Record, Settings, load_settings

from .cognito import LocalCognito
from .isolation import without_settings
from .valkey import EmbeddedValkey
from .worker import LocalWorker

_POLL: Final = 0.02
_DECIDED_HERE: Final = ("broker_url", "ledger_url")


class LocalSite:
    """All three, from `with` to its end; the environment of this process leads there for as long.

    Attributes:
        cognito: to add pools, users and devices, to read their status, and to play faults.
        settings: broker and ledger are here.
        environment: for processes that work here.
        producer, incidents: for the worker here.

    Parameters:
        settings: DEVICE_STATUS_* without the prefix.
    """

    cognito: LocalCognito
    settings: Settings
    environment: dict[str, str]
    producer: Producer
    incidents: Incidents

    def __init__(self, **settings: str | float) -> None:
        """Raises TypeError for a setting that does not exist, or that this class decides."""
        for name in settings:
            if name not in Settings.model_fields or name in _DECIDED_HERE:
                known = ", ".join(each for each in Settings.model_fields if each not in _DECIDED_HERE)
                raise TypeError(f"{name} is not a setting that can be given here; these are: {known}")
        self._overrides = {f"DEVICE_STATUS_{name.upper()}": str(value) for name, value in settings.items()}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            # First: moto, in this process, would look for the caller's AWS profile.
            isolated = without_settings(os.environ) | self._overrides
            exits.enter_context(patch.dict("os.environ", isolated, clear=True))
            folder = Path(exits.enter_context(TemporaryDirectory(prefix="device-status-testing-")))
            self.cognito = exits.enter_context(LocalCognito())
            valkey = exits.enter_context(EmbeddedValkey())
            os.environ |= self.cognito.environment()
            os.environ |= {
                "DEVICE_STATUS_BROKER_URL": valkey.url,
                "DEVICE_STATUS_LEDGER_URL": valkey.url,
            }
            self.environment = dict(os.environ)
            self.settings = load_settings()
            self.producer, self.incidents = Producer(self.settings), Incidents(self.settings)
            self._worker = exits.enter_context(LocalWorker(self.environment, folder / "worker.log"))
            self._worker.wait_until_ready()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def worker_log(self) -> str:
        """What the worker has logged so far."""
        return self._worker.output

    def outcome(self, command_id: str, *, timeout: float = 30.0) -> Record:
        """Wait until the command has its outcome.

        Raises:
            TimeoutError: it has none after `timeout` seconds.
            WorkerError: the worker has ended.
        """
        give_up_at = time.monotonic() + timeout
        while True:
            record = self.producer.lookup(command_id)
            if record is not None and record.outcome is not None:
                return record
            if time.monotonic() > give_up_at:
                state = record.state if record else "unknown"
                raise TimeoutError(f"{command_id} is {state} after {timeout:g} s; worker_log may say why")
            self._worker.check()
            time.sleep(_POLL)

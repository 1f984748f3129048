"""Failures to play: the ledger or the broker is away."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from device_status.errors import LedgerUnavailableError, PublishError
from device_status.publisher import BrokerUnavailableError

Failure = type[LedgerUnavailableError] | type[PublishError]


@dataclass(slots=True)
class _Planned:
    after: int
    """Calls that are still served."""
    times: int | None
    """Calls that fail after those; None: all."""

    def strikes(self) -> bool:
        """Whether this call fails; counts it."""
        if self.after:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class Failures:
    """What was planned with `fail`; safe to share among threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[Failure, _Planned] = {}

    def plan(self, error: Failure, times: int | None, after: int) -> None:
        """Let calls fail.

        Raises:
            TypeError: this is not an error that a server that is away causes.
        """
        if error not in (LedgerUnavailableError, PublishError):
            raise TypeError("fail takes LedgerUnavailableError or PublishError")
        with self._lock:
            self._planned[error] = _Planned(after, times)

    def clear(self) -> None:
        """Let all calls succeed."""
        with self._lock:
            self._planned.clear()

    def check_ledger(self) -> None:
        """Raises LedgerUnavailableError if it is planned."""
        if self._strikes(LedgerUnavailableError):
            raise LedgerUnavailableError(
                "the ledger did not serve the call (the test plays this); "
                "repeat the call with the same command"
            )

    def check_broker(self) -> None:
        """Raises BrokerUnavailableError, which the caller gets as PublishError, if it is planned."""
        if self._strikes(PublishError):
            raise BrokerUnavailableError("the broker did not take the message (the test plays this)")

    def _strikes(self, error: Failure) -> bool:
        with self._lock:
            planned = self._planned.get(error)
            return planned is not None and planned.strikes()

"""What was asked of the local Cognito, in the order of arrival."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

PENDING = "pending"


@dataclass(frozen=True)
class Request:
    """One request to Cognito, of the device operations or any other.

    `at` is `time.monotonic()` at arrival, in seconds. `response_code` is "ok", the AWS error code,
    `http_<status>` for a proxy's page, "reset" or "no_answer", and "pending" until it is known. `applied`:
    was the operation done? A request that was done but whose answer was lost is `applied` with "reset".
    """

    at: float
    operation: str
    user_pool_id: str | None
    username: str | None
    device_key: str | None
    status: str | None
    response_code: str = PENDING
    applied: bool = False
    request_id: str = ""


class RequestLog:
    """The newest `size` requests; older ones are dropped, for a server may run for days."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._number = 0
        self._requests: dict[int, Request] = {}
        self._pending: set[int] = set()

    def arrived(self, request: Request) -> int:
        """Enters a request; returns its number, for `answered`."""
        with self._changed:
            self._number += 1
            self._requests[self._number] = request
            self._pending.add(self._number)
            if len(self._requests) > self._size:
                oldest = next(iter(self._requests))
                del self._requests[oldest]
                self._pending.discard(oldest)
            self._changed.notify_all()
            return self._number

    def answered(self, number: int, response_code: str, *, applied: bool) -> None:
        """Completes an entry, just before the answer goes out."""
        with self._changed:
            request = self._requests.get(number)
            if request is not None:  # None: cleared or dropped meanwhile
                self._requests[number] = replace(request, response_code=response_code, applied=applied)
                self._pending.discard(number)
                self._changed.notify_all()

    def all(self) -> list[Request]:
        """A copy of the entries."""
        with self._changed:
            return list(self._requests.values())

    def clear(self) -> None:
        """Forgets all entries."""
        with self._changed:
            self._requests.clear()
            self._pending.clear()

    def wait_for(self, count: int, timeout: float, *, answered: bool) -> bool:
        """Waits until `count` entries are there, and answered if asked; False after `timeout` seconds."""

        def enough() -> bool:
            return len(self._requests) - (len(self._pending) if answered else 0) >= count

        with self._changed:
            return self._changed.wait_for(enough, timeout)

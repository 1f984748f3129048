"""Whether any second saw more requests than the quota, measured where they arrive."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

ON_THEIR_WAY = 2
"""Requests that docs/guarantees.md allows a second beyond the quota: those that were held up on their way."""
_TICK = 0.005


class Stalls:
    """Notes when this process, in which the local Cognito answers, did not get to run.

    What arrived meanwhile is seen late, all at once. A request is seen late by as much as that at most.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ends: list[float] = []
        self._lengths: list[float] = []

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def note(self, ended_at: float, seconds: float) -> None:
        """One is over; call it in the order of time."""
        self._ends.append(ended_at)
        self._lengths.append(seconds)

    def longest(self, since: float, until: float) -> float:
        """Seconds of the longest that was over within this time."""
        some = self._lengths[bisect_left(self._ends, since) : bisect_right(self._ends, until)]
        return max(some, default=0.0)

    def _run(self) -> None:
        due = time.monotonic() + _TICK
        while not self._stop.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > _TICK:
                self.note(now, now - due)
            due = now + _TICK


def most_in_a_second(times: Sequence[float], stalls: Stalls) -> int:
    """The most requests whose arrivals lie so close together that all of them left within one second.

    Parameters:
        times: of the requests, in seconds, as they were seen.
    """
    return max(_counts(sorted(times), stalls), default=0)


def _counts(times: Sequence[float], stalls: Stalls) -> Iterator[int]:
    for first, began_at in enumerate(times):
        # The first may have come that much earlier than it was seen.
        window = 1.0 - stalls.longest(began_at - _TICK, began_at + 1.0 + _TICK)
        yield bisect_left(times, began_at + window, first) - first

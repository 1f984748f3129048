"""Threads on a clock that jumps from one waking to the next: minutes in seconds, alike in every run."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from device_status_worker.gate import gate_scripts

_CLOCK = "test:clock"

# In front of a script, so that it reads the simulation's clock instead of the server's.
_PRELUDE = f"""
local redis = {{call = function(command, ...)
  if command == 'TIME' then return {{'0', redis.call('GET', '{_CLOCK}')}} end
  return redis.call(command, ...)
end}}
"""


class Simulation:
    """Of the threads in it one runs at a time, and time passes only while all of them wait.

    Parameters:
        late: seconds that a thread wakes up late, asked at each wait; as on a busy host.

    Attributes:
        now: the time that passes, in seconds.
        server_ahead: seconds by which the server's clock is ahead of it; a change is a step of that clock.
        scripts: the gate's, on the server's clock.
    """

    def __init__(self, client: Any, late: Callable[[], float]) -> None:
        self.now = 1_000_000_000.0
        self.server_ahead = 0.0
        self.scripts = gate_scripts(client, before=_PRELUDE)
        self._client = client
        self._late = late
        self._is_over = False
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._numbers = count()
        self._all_wait = threading.Semaphore(0)
        self._set_clock()

    def wait(self, seconds: float) -> bool:
        """What a gate waits by: True once the simulation is over."""
        awake = threading.Event()
        wakes_at = self.now + seconds + (self._late() if seconds else 0)
        heapq.heappush(self._sleepers, (wakes_at, next(self._numbers), awake))
        self._all_wait.release()
        awake.wait()
        return self._is_over

    def step(self, seconds: float) -> None:
        """Let the server's clock step, back if negative. Forward, keys expire by it as on a real server."""
        self.server_ahead += seconds
        self._set_clock()
        for key in self._client.scan_iter("device-status:gate:*") if seconds > 0 else ():
            if (life := self._client.ttl(key)) > 0:
                self._client.expire(key, max(0, int(life - seconds)))

    def run(self, work: Iterable[Callable[[], None]], seconds: float) -> None:
        """Run each of `work` in a thread until `seconds` have passed; it must end when `wait` says True."""
        end = self.now + seconds
        threads = [threading.Thread(target=self._run, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
            self._all_wait.acquire()
        while self._sleepers and self._sleepers[0][0] < end:
            self._wake()
        self._is_over = True
        while self._sleepers:
            self._wake()
        for thread in threads:
            thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            if not self.wait(0):
                work()
        finally:
            self._all_wait.release()

    def _wake(self) -> None:
        self.now, _, awake = heapq.heappop(self._sleepers)
        self._set_clock()
        awake.set()
        self._all_wait.acquire()

    def _set_clock(self) -> None:
        self._client.set(_CLOCK, int((self.now + self.server_ahead) * 1e6))

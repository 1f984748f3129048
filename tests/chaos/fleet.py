"""The worker processes of a run: who is in whose hands, and who ended without being asked to."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from support.waiting import eventually
from support.workers import WorkerProcess

ENDS_WITHIN = 30.0
"""Seconds, as promised: after SIGTERM, whatever is wrong."""


class Fleet:
    """Safe to share among threads, which each get a worker of their own."""

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self.workers = list(workers)
        self.wrong: list[str] = []
        self.ended_after: list[float] = []
        """Seconds that each took to end, in the midst of a fault."""
        self._free = list(workers)
        self._changed = threading.Condition()

    @contextmanager
    def borrowed(self, chance: Random) -> Iterator[WorkerProcess]:
        """One that nobody else does anything to; waits until there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            worker = chance.choice(self._free)
            self._free.remove(worker)
        try:
            yield worker
        finally:
            with self._changed:
                self._free.append(worker)
                self._changed.notify_all()

    def end_one(self, chance: Random, during: str) -> None:
        """SIGTERM to one; it must end in order and in time. It is started again."""
        with self.borrowed(chance) as worker:
            # Before that, while Python still imports, nobody could end it in order.
            eventually(lambda: worker.catches(signal.SIGTERM) or not worker.is_alive, "it has begun", 60)
            began_at = time.monotonic()
            worker.send_signal(signal.SIGTERM)
            try:
                code = worker.wait(ENDS_WITHIN)
                self.ended_after.append(time.monotonic() - began_at)
                if code != 0:
                    self.wrong.append(f"a worker ended with exit code {code} after SIGTERM during {during}")
            except subprocess.TimeoutExpired:
                self.wrong.append(
                    f"a worker did not end within {ENDS_WITHIN:.0f} s of SIGTERM during {during}"
                )
                worker.kill()
            worker.start()

    def look(self) -> None:
        """Notice who ended unasked, and start it again."""
        with self._changed:
            for worker in self._free:
                if not worker.is_alive:
                    self.wrong.append(f"a worker ended unasked: {worker.output[-3000:]}")
                    worker.start()

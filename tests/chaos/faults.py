"""The seeded schedule of faults, and how each is done."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import redis

from chaos.system import System

PAST_THE_LEASE = 66.0
"""Seconds; a claim's lease is 60."""


class Faults:
    """Injects faults until stopped, and undoes the last one.

    Parameters:
        every: mean seconds between two faults.
        stops_past_lease: how many of the workers' stops outlast a lease.
    """

    def __init__(self, system: System, seed: int, every: float, stops_past_lease: int) -> None:
        self._system = system
        self._chance = random.Random(seed)
        self._every = every
        self._long_stops = stops_past_lease
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stopped: list[threading.Thread] = []
        self.injected: Counter[str] = Counter()
        self.last_at = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """No more faults; returns when every stopped worker runs again."""
        self._stop.set()
        self._thread.join()
        for thread in self._stopped:
            thread.join()
        self.last_at = time.monotonic()

    def _run(self) -> None:
        kinds: dict[str, Callable[[], None]] = {
            "worker killed": self._kill_worker,
            "worker stopped and continued": self._stop_worker,
            "ledger killed and restarted": self._restart_ledger,
            "ledger stopped and continued": self._stop_ledger,
            "connections cut": self._cut_connections,
        }
        if self._system.rabbitmq:
            kinds["broker killed and restarted"] = self._system.rabbitmq.restart
        if self._system.other_redis:
            kinds["broker killed with all its messages"] = self._restart_other_redis
        # Each kind once, then by chance: a short run has them all.
        due = list(kinds)
        self._chance.shuffle(due)
        while not self._stop.wait(self._chance.uniform(0.5, 1.5) * self._every):
            kind = due.pop() if due else self._chance.choice(list(kinds))
            kinds[kind]()
            self.injected[kind] += 1

    def _kill_worker(self) -> None:
        worker = self._chance.choice(self._system.workers)
        worker.kill()
        self._stop.wait(self._chance.uniform(0, 3))
        worker.start()

    def _stop_worker(self) -> None:
        past = self._long_stops > 0
        self._long_stops -= past
        seconds = PAST_THE_LEASE if past else self._chance.uniform(0.5, 5)
        self.injected["of these, past the lease"] += past
        worker = self._chance.choice(self._system.workers)

        def stop_and_continue() -> None:
            worker.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            worker.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=stop_and_continue)
        thread.start()
        self._stopped.append(thread)

    def _restart_ledger(self) -> None:
        self._system.valkey.kill()
        self._stop.wait(self._chance.uniform(0, 2))
        self._system.valkey.restart()

    def _stop_ledger(self) -> None:
        """What it was asked meanwhile it does late, when the caller has given up or asked again."""
        pid = self._system.valkey.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.5, 6))
        os.kill(pid, signal.SIGCONT)

    def _restart_other_redis(self) -> None:
        assert self._system.other_redis is not None
        self._system.other_redis.kill()
        self._system.other_redis.restart()

    def _cut_connections(self) -> None:
        for url in {self._system.valkey.url, self._system.settings.broker_url}:
            if url.startswith("redis"):
                with suppress(redis.RedisError), redis.Redis.from_url(url) as client:
                    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

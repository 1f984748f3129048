"""When each fault comes and goes, by the seed."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from chaos.faults import Track
from chaos.faults.fault import Fault
from chaos.fleet import Fleet

ENDS_A_WORKER = 0.25
"""How often a worker is asked to end in the midst of a fault; in the first of each kind it always is."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault that was there; times are those of the monotonic clock."""

    kind: str
    fault: Fault
    began_at: float
    ended_at: float


class Schedule:
    """Brings faults about until it is ended, each track in a thread of its own.

    Parameters:
        once: whether each kind comes once and no more.
        every: mean seconds between two faults of a track.
        say: takes a line about each fault.
    """

    def __init__(
        self,
        tracks: Mapping[str, Track],
        fleet: Fleet,
        seed: int,
        every: float,
        once: bool,
        say: Callable[[str], None],
    ) -> None:
        self._fleet = fleet
        self._every = every
        self._once = once
        self._say = say
        self._stop = threading.Event()
        self._began_at = time.monotonic()
        self._left = sum(map(len, tracks.values()))
        self._lock = threading.Lock()
        self.happened: list[Happened] = []
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(name, track, Random(f"{seed} {name}")), daemon=True)
            for name, track in tracks.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def had_each(self) -> bool:
        """Whether each kind was there once."""
        return self._left <= 0

    @property
    def counts(self) -> Counter[str]:
        """How often each kind was there."""
        return Counter(each.kind for each in self.happened)

    def end(self) -> None:
        """No more faults; returns when all are undone."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, track: Track, chance: Random) -> None:
        due = list(track)
        chance.shuffle(due)
        had, rest = Counter[str](), 1.0
        while not self._stop.wait(chance.uniform(0.5, 1.5) * self._every * rest):
            is_first = bool(due)
            choice = due or [kind for kind, fault in track.items() if had[kind] < (fault.most or sys.maxsize)]
            if not choice or (self._once and not is_first):
                return
            kind = due.pop() if due else chance.choice(choice)
            had[kind] += 1
            rest = track[kind].rest
            try:
                self._bring_about(f"{name}: {kind}", track[kind], chance, is_first=is_first)
            except Exception as error:
                self.wrong.append(f"{name}: {kind}: the run itself failed: {type(error).__name__}: {error}")
            with self._lock:
                self._left -= is_first

    def _bring_about(self, kind: str, fault: Fault, chance: Random, *, is_first: bool) -> None:
        seconds = chance.uniform(*fault.lasts)
        ends_a_worker = (is_first and fault.ends_a_worker) or chance.random() < ENDS_A_WORKER
        began_at = time.monotonic()
        with fault.begin():
            self._say(f"{time.monotonic() - self._began_at:7.1f} s  {kind}")
            until = time.monotonic() + seconds
            if ends_a_worker:
                self._fleet.end_one(chance, kind)
            self._stop.wait(until - time.monotonic())
        ended_at = time.monotonic()
        self._say(f"{ended_at - self._began_at:7.1f} s  {kind}: over")
        with self._lock:
            self.happened.append(Happened(kind, fault, began_at, ended_at))

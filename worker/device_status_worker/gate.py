"""The gate: the rate limiter of one target and quota category, shared by all workers.

Its state is in Redis and its clock is Redis's, so any number of processes keep one quota together.
A thread waits for its *turn*; turns are evenly spaced. When it has come it takes a *slot*, for one
request at one moment, and no second sees more slots than the quota, wherever that second begins.

Of workers with different quotas, the lowest of those that asked in the last minute holds for all. How a step
of the server's clock is survived stands in `prelude_gate.lua` and `reserve.lua`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from device_status.command import Lane
from device_status.ledger import gate_key
from device_status.scripts import Patience, Scripts, no_patience, source
from device_status.targets import Target

HEADROOM: Final = 0.02
"""Part of the quota left unused by the turns: what threads that came late have left can be made up for."""
MARGIN: Final = 0.018
"""Part by which the window that the slots keep is longer than the service's second: for the milliseconds
that a request needs from here to there."""
LATEST: Final = 0.015
"""Seconds after which a slot is void: requests that were held up (a stopped process, a busy host) and sent
late, together, would be more in one second than the quota."""
MISSED: Final = 20
"""Slots that a process misses one after the other before it may be later: twice as late for each so many,
up to 64 times. A host too slow for `LATEST` would do nothing else."""
DISTANCE: Final = 0.5
"""Part of the interval between turns that two slots keep from each other."""
HORIZON: Final[dict[Lane, float]] = {Lane.URGENT: 10.0, Lane.ROUTINE: 2.0, Lane.BULK: 1.0}
"""Seconds ahead that a lane may reserve a turn. Urgent commands overtake by it: they queue behind at most a
second of bulk, while bulk has to ask again."""
MOST_WAIT: Final = 10.0
"""Seconds that a thread waits for a slot before it gives its command back."""
RECOVERY: Final = 30.0
"""Seconds in which a rate cut to nothing grows back to the quota."""
PROBE_RATE: Final = 1 / 3
"""Requests a second that still go to a service that fails every one of them."""
PAUSE: Final = 15.0
"""Seconds without a request after a fault of ours, such as expired credentials."""
MOST_WAIT_PAUSED: Final = 1.0
"""Seconds that a thread waits at a gate that is paused: work for other Regions stands behind it."""

_ASK_AGAIN_AT_LEAST: Final = 0.02
_SPARE: Final = 0.25
"""Seconds between a turn and the end of its thread's patience, for the way from the turn to its slot."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Permission for one request, now."""

    send_before: float
    """When it is void, on this process's monotonic clock."""
    degraded: bool
    """Whether the gate counts faults, so that a success is news to it."""
    name: str
    """What the gate knows it by."""


@dataclass(frozen=True, slots=True)
class NoSlot:
    """No permission within the time a thread may wait."""

    due_in: float
    """Seconds after which it is worth another try."""
    why: str
    """`GatePaused:<code>`, `NoSlotNear` or `ShuttingDown`."""


class Gate:
    """One target's quota in one category.

    Parameters:
        scripts: as `gate_scripts` makes them.
        key: of its state in Redis.
        quota: requests a second.
        wait: sleeps for some seconds, or less where the worker shuts down, and then returns True.
        clock: of this process, in seconds.
    """

    def __init__(
        self,
        scripts: Scripts,
        key: str,
        quota: float,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = [key, f"{key}:slots"]
        # What prelude_gate.lua takes, in its order; times in microseconds.
        self._figures = (quota, HEADROOM, int(RECOVERY * 1e6), PROBE_RATE, int(PAUSE * 1e6))
        self._scripts = scripts
        self._wait = wait
        self._clock = clock
        self._round_trip = 1.0
        self._missed = 0

    def wait_for_slot(self, lane: Lane) -> Slot | NoSlot:
        """Wait until this thread may send one request; at most `MOST_WAIT` seconds."""
        give_up_at = self._clock() + MOST_WAIT
        has_turn, delay = False, 0.0
        while not self._wait(delay):
            asked_at = self._clock()
            # A turn that comes too late to be waited for would pass unused.
            kind, microseconds, *details = self._reserve(lane, has_turn, give_up_at - asked_at - _SPARE)
            answered_at = self._clock()
            if kind == "slot":
                # An answer that took long says nothing of when the slot was taken: as usual, most likely.
                self._round_trip = min(answered_at - asked_at, self._round_trip * 1.05)
                latest = LATEST * 2 ** min(6, self._missed // MISSED)
                send_before = asked_at + self._round_trip + latest
                return Slot(send_before, degraded=bool(details[0]), name=details[1])
            delay = int(microseconds) / 1e6
            if kind == "paused":
                give_up_at = min(give_up_at, answered_at + MOST_WAIT_PAUSED)
            if answered_at + delay > give_up_at:
                why = f"GatePaused:{details[0]}" if kind == "paused" else "NoSlotNear"
                # Waited out here: given back at once, a backlog would run through the ledger in circles.
                if self._wait(max(0, give_up_at - answered_at)):
                    break
                return NoSlot(max(0, answered_at + delay - self._clock()) + random.random(), why)  # noqa: S311
            has_turn = kind == "turn"
            if not has_turn:
                delay = max(delay, _ASK_AGAIN_AT_LEAST) * (1 + random.random() / 2)  # noqa: S311
        return NoSlot(0, "ShuttingDown")

    def give_back(self, slot: Slot) -> None:
        """No request was sent in this slot: others may send one more."""
        self._missed += 1
        self._scripts.run("give_back", self._keys, slot.name)

    def answered(self, slot: Slot) -> None:
        """The service did its work, whatever it said of the command; costs nothing on a sound gate."""
        self._missed = 0
        if slot.degraded:
            self._report("succeeded")

    def throttled(self) -> None:
        """The service asked for fewer requests."""
        self._report("throttled")

    def fault(self) -> None:
        """The service failed or did not answer."""
        self._report("fault")

    def pause(self, why: str) -> None:
        """Every request would fail alike, by a fault of ours: none for `PAUSE` seconds, then probes."""
        self._report("paused", why)

    def _reserve(self, lane: Lane, has_turn: bool, most_wait: float = MOST_WAIT) -> list[Any]:
        horizon = max(0.0, min(HORIZON[lane], most_wait))
        answer: list[Any] = self._scripts.run(
            "reserve",
            self._keys,
            *self._figures,
            int(horizon * 1e6),
            MARGIN,
            DISTANCE,
            int(has_turn),
        )
        return answer

    def _report(self, what: str, why: str = "") -> None:
        self._scripts.run("report", self._keys[:1], *self._figures, what, why)


def gate_scripts(redis: Any, patience: Patience = no_patience, *, before: str = "") -> Scripts:
    """The scripts of the gate, with what they share in front.

    Parameters:
        before: Lua that goes before all of it.
    """
    prelude = before + source("device_status_worker", "prelude_gate")
    return Scripts(redis, "device_status_worker", prelude=prelude, patience=patience)


class Gates:
    """The gates of one process, made as commands ask for them.

    Quotas are per account, Region and category over all pools of the account (Amazon Cognito's
    documentation, "Quotas"), so that is what a gate stands for.
    """

    def __init__(
        self,
        redis: Any,
        wait: Callable[[float], bool],
        patience: Patience = no_patience,
    ) -> None:
        self._scripts = gate_scripts(redis, patience)
        self._wait = wait
        self._gates: dict[str, Gate] = {}

    def update(self, target: Target) -> Gate:
        """The gate before AdminUpdateDeviceStatus."""
        return self._gate(gate_key(target, "UserResourceUpdate"), target.quotas.update)

    def read(self, target: Target) -> Gate:
        """The gate before AdminListDevices."""
        return self._gate(gate_key(target, "UserResourceRead"), target.quotas.read)

    def list_users(self, target: Target) -> Gate:
        """The gate before ListUsers."""
        return self._gate(gate_key(target, "UserList"), target.quotas.list_users)

    def _gate(self, key: str, quota: float) -> Gate:
        # Two threads may both make it: what counts is in Redis.
        if key not in self._gates:
            self._gates[key] = Gate(self._scripts, key, quota, self._wait)
        return self._gates[key]

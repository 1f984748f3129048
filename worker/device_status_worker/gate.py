"""The gate: the rate limiter of one target and quota category, shared by all workers.

Its state is in Redis and its clock is Redis's, so any number of processes keep one quota together.
It hands out *slots*, each for one request at one moment; they are evenly spaced, so that no second
sees more than the quota, wherever that second begins.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from device_status.command import Lane
from device_status.ledger import gate_key
from device_status.scripts import Patience, Scripts, no_patience
from device_status.settings import Settings

HEADROOM: Final = 0.02
"""Part of the quota left unused: threads wake up late by milliseconds, which would else push requests
of one second into the next."""
HORIZON: Final[dict[Lane, float]] = {Lane.URGENT: 10.0, Lane.ROUTINE: 2.0, Lane.BULK: 1.0}
"""Seconds ahead that a lane may reserve. Urgent commands overtake by it: they queue behind at most a
second of bulk, while bulk has to ask again."""
MOST_WAIT: Final = 10.0
"""Seconds that a thread waits for a slot before it gives its command back."""
RECOVERY: Final = 30.0
"""Seconds in which a rate cut to nothing grows back to the quota."""
PROBE_RATE: Final = 1 / 3
"""Requests a second that still go to a service that fails every one of them."""
PAUSE: Final = 15.0
"""Seconds without a request after a fault of ours, such as expired credentials."""

LATEST: Final = 0.02
"""Seconds after its moment at which a slot is void: threads that were held up (a stopped process, a busy
host) and sent late, together, would be more in one second than the quota."""

_ASK_AGAIN_AT_LEAST: Final = 0.02
_SLOWEST_ANSWER: Final = 0.25


@dataclass(frozen=True, slots=True)
class Slot:
    """Permission for one request, now."""

    send_before: float
    """When it is void, on this process's monotonic clock."""
    degraded: bool
    """Whether the gate counts faults, so that a success is news to it."""


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
        scripts: those of this package.
        key: of its state in Redis.
        quota: requests a second.
        wait: sleeps for some seconds, or less where the worker shuts down, and then returns True.
    """

    def __init__(self, scripts: Scripts, key: str, quota: float, wait: Callable[[float], bool]) -> None:
        self._key = key
        self._ceiling = quota * (1 - HEADROOM)
        self._scripts = scripts
        self._wait = wait

    def wait_for_slot(self, lane: Lane) -> Slot | NoSlot:
        """Wait until this thread may send one request; at most `MOST_WAIT` seconds."""
        give_up_at = time.monotonic() + MOST_WAIT
        while True:
            asked_at = time.monotonic()
            answer = self._scripts.run(
                "reserve",
                [self._key],
                self._ceiling,
                int(HORIZON[lane] * 1e6),
                int(RECOVERY * 1e6),
                PROBE_RATE,
            )
            answered_at = time.monotonic()
            kind, microseconds, detail = (*answer, None)[:3]
            delay = int(microseconds) / 1e6
            if kind == "slot":
                if self._wait(delay):
                    return NoSlot(0, "ShuttingDown")
                # An answer that took long may have come at any time since it was asked for.
                begins_at = min(answered_at, asked_at + _SLOWEST_ANSWER) + delay
                return Slot(begins_at + LATEST, degraded=bool(detail))
            if answered_at + delay > give_up_at:
                why = f"GatePaused:{detail}" if kind == "paused" else "NoSlotNear"
                # Waited out here: given back at once, a backlog would run through the ledger in circles.
                if self._wait(max(0, give_up_at - answered_at)):
                    return NoSlot(0, "ShuttingDown")
                return NoSlot(max(0, answered_at + delay - time.monotonic()) + random.random(), why)  # noqa: S311
            spread = random.random() * max(delay, _ASK_AGAIN_AT_LEAST)  # noqa: S311
            if self._wait(max(delay, _ASK_AGAIN_AT_LEAST) + spread / 2):
                return NoSlot(0, "ShuttingDown")

    def answered(self, slot: Slot) -> None:
        """The service did its work, whatever it said of the command; costs nothing on a sound gate."""
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

    def _report(self, what: str, why: str = "") -> None:
        self._scripts.run(
            "report",
            [self._key],
            what,
            self._ceiling,
            int(RECOVERY * 1e6),
            PROBE_RATE,
            int(PAUSE * 1e6),
            why,
        )


class Gates:
    """The gates of one process, made as commands ask for them.

    Quotas are per account, Region and category over all pools of the account (Amazon Cognito's
    documentation, "Quotas"), so that is what a gate stands for.
    """

    def __init__(
        self,
        redis: Any,
        settings: Settings,
        wait: Callable[[float], bool],
        patience: Patience = no_patience,
    ) -> None:
        self._scripts = Scripts(redis, "device_status_worker", patience=patience)
        self._wait = wait
        self._quotas = {
            "UserResourceUpdate": settings.update_quota,
            "UserResourceRead": settings.read_quota,
            "UserList": settings.list_users_quota,
        }
        self._gates: dict[tuple[str, str], Gate] = {}

    def update(self, region: str) -> Gate:
        """The gate before AdminUpdateDeviceStatus."""
        return self._gate(region, "UserResourceUpdate")

    def read(self, region: str) -> Gate:
        """The gate before AdminListDevices."""
        return self._gate(region, "UserResourceRead")

    def list_users(self, region: str) -> Gate:
        """The gate before ListUsers."""
        return self._gate(region, "UserList")

    def _gate(self, region: str, category: str) -> Gate:
        # Two threads may both make it: a gate has no state of its own.
        if (region, category) not in self._gates:
            key = gate_key(region, category)
            self._gates[region, category] = Gate(self._scripts, key, self._quotas[category], self._wait)
        return self._gates[region, category]

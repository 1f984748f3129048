"""When a command is tried again, and when it is given up."""

from __future__ import annotations

import random
from typing import Final, Protocol

from device_status.settings import Settings

BASE: Final = 1.0
"""Seconds: the first retry comes after 0 to 1, the next after 0 to 2, …"""
CAP: Final = 60.0
"""Seconds."""
SOON: Final = 2.0
"""Seconds, at most, until a throttled command asks the gate again; the gate itself sets the pace."""


class Tried(Protocol):
    """What was tried before: a claimed command, or a listing."""

    @property
    def attempts(self) -> int:
        """That count, before this one."""

    @property
    def age(self) -> float:
        """Seconds since the first of them."""


def is_last_attempt(tried: Tried, settings: Settings) -> bool:
    """Whether the attempt under way is the last that the limits allow."""
    return tried.attempts + 1 >= settings.max_attempts or tried.age >= settings.max_age.total_seconds()


def backoff(tried: Tried) -> float:
    """Seconds; full jitter, since what failed together must not come back together."""
    return random.uniform(0, min(CAP, BASE * 2**tried.attempts))  # noqa: S311


def soon() -> float:
    """Seconds."""
    return random.uniform(0, SOON)  # noqa: S311

"""A request quota that is enforced, as Cognito's are: per account and Region, over all pools.

AWS does not say how it measures. This admits so many requests in any sliding second, the strictest reading: a
caller that never trips it keeps within the quota by any measure. A refused request takes none of the quota.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from .pools import Scope

WINDOW_SECONDS = 1.0


class Quota:
    """Limits by operation. `limits` may be changed at any time; an operation without an entry has none."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.limits = dict(limits)
        self._lock = threading.Lock()
        self._admitted: dict[tuple[Scope, str], deque[float]] = {}

    def admits(self, scope: Scope, operation: str, at: float) -> bool:
        """Whether a request that arrived `at` (monotonic seconds) is within the quota; counts it."""
        limit = self.limits.get(operation)
        if limit is None:
            return True
        with self._lock:
            times = self._admitted.setdefault((scope, operation), deque())
            while times and times[0] <= at - WINDOW_SECONDS:
                times.popleft()
            if len(times) >= limit:
                return False
            times.append(at)
            return True

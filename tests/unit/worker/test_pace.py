"""A broker that does not serve is asked again at once, then less and less often, and never rarely."""

from __future__ import annotations

import pytest

from device_status_worker import pace
from device_status_worker.pace import Pace


def delays(count: int) -> list[float]:
    each = Pace()
    found = []
    for _ in range(count):
        each.failed()
        found.append(each.delay())
    return found


def test_the_first_attempt_after_a_connection_that_served_comes_at_once() -> None:
    assert Pace().delay() == 0
    assert delays(1) == [0]


def test_the_delays_grow_to_three_seconds_and_stay_there() -> None:
    found = delays(2000)
    most = [0, 0.5, 1, 2, 3, 3]
    assert all(0.7 * limit <= delay <= limit for delay, limit in zip(found, most, strict=False))
    assert all(2 <= delay <= 3 for delay in found[4:])


def test_a_connection_that_breaks_at_once_is_no_new_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    each = Pace()
    for _ in range(6):
        each.failed()
        each.connected()
        now += 1
    assert each.delay() > 2
    now += 60
    each.failed()
    assert each.delay() == 0

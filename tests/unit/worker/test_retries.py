"""Promises about when a command is tried again, and when it is given up, in figures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from device_status import load_settings
from device_status_worker.retries import backoff, is_last_attempt, soon

SAMPLES = 2000
HOUR = 3600


@dataclass(frozen=True)
class Tried:
    """A command with this behind it."""

    attempts: int
    age: float = 0.0


class TestWhenItIsTriedAgain:
    @pytest.mark.parametrize(
        ("attempts", "longest"),
        [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (11, 60), (500, 60)],
    )
    def test_the_delay_is_random_and_grows_up_to_a_minute(self, attempts: int, longest: float) -> None:
        delays = [backoff(Tried(attempts)) for _ in range(SAMPLES)]
        assert 0 <= min(delays) < 0.1 * longest
        assert 0.9 * longest < max(delays) <= longest

    def test_what_was_throttled_comes_back_within_two_seconds_and_not_all_together(self) -> None:
        delays = [soon() for _ in range(SAMPLES)]
        assert 0 <= min(delays) < 0.2
        assert 1.8 < max(delays) <= 2

    def test_the_twelfth_attempt_is_the_last(self) -> None:
        settings = load_settings()
        assert not is_last_attempt(Tried(attempts=10), settings)
        assert is_last_attempt(Tried(attempts=11), settings)

    def test_the_first_attempt_after_a_day_is_the_last(self) -> None:
        settings = load_settings()
        assert not is_last_attempt(Tried(attempts=1, age=24 * HOUR - 1), settings)
        assert is_last_attempt(Tried(attempts=1, age=24 * HOUR), settings)

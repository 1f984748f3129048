"""Promises about noticing that the ledger's clock steps: each step once, and nothing that is none."""

from __future__ import annotations

import logging
import time
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status import Settings
from device_status.health import clock_warning
from device_status.ledger import Ledger
from device_status.publisher import Publisher
from device_status_worker.ledger_clock import LedgerClock, Look, step_between
from device_status_worker.sweeper import Sweeper
from support.clock import server_ms
from support.stepping import SteppingValkey

MOST_BETWEEN = 86_400.0
"""Seconds."""
seconds = st.floats(0, MOST_BETWEEN)


@pytest.fixture
def redis_url(stepping_valkey: SteppingValkey) -> str:
    return stepping_valkey.url


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "device_status_worker.ledger_clock")
    return caplog


def make_sweeper(ledger: Ledger, settings: Settings) -> Sweeper:
    return Sweeper(ledger, Publisher(settings.broker_url), Event())


def looks(
    *, between: float, ledger: float, wall: float, trips: tuple[float, float] = (0, 0)
) -> tuple[Look, Look]:
    """Two looks, with so many seconds between them by each clock, and so many for each answer."""
    first = Look(asked=1000, answered=1000 + trips[0], wall=5000, ledger=7000)
    asked = first.answered + between
    return first, Look(asked, asked + trips[1], wall=5000 + wall, ledger=7000 + ledger)


class TestWhatIsAStep:
    @given(between=seconds, step=st.one_of(st.floats(-1e6, -100), st.floats(100, 1e6)))
    def test_what_the_ledgers_clock_alone_leaps(self, between: float, step: float) -> None:
        by = step_between(*looks(between=between, ledger=between + step, wall=between))
        assert by == pytest.approx(step, abs=2)

    @given(step=st.floats(-1e6, -5))
    def test_a_step_back_of_all_clocks_of_a_host(self, step: float) -> None:
        by = step_between(*looks(between=1, ledger=1 + step, wall=1 + step))
        assert by == pytest.approx(step, abs=2)


class TestWhatIsNone:
    @given(
        between=seconds,
        trips=st.tuples(seconds, seconds),
        read_at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    )
    def test_time_that_passes_however_long_an_answer_takes_or_the_process_is_stopped(
        self, between: float, trips: tuple[float, float], read_at: tuple[float, float]
    ) -> None:
        passed = (1 - read_at[0]) * trips[0] + between + read_at[1] * trips[1]
        wall = between + trips[1]
        assert step_between(*looks(between=between, trips=trips, ledger=passed, wall=wall)) == 0.0

    @given(between=seconds, drift=st.floats(-0.0005, 0.0005), off=st.floats(-1.5, 1.5))
    def test_what_time_sync_corrects_little_by_little(self, between: float, drift: float, off: float) -> None:
        passed = between * (1 + drift) + off
        assert step_between(*looks(between=between, ledger=passed, wall=between)) == 0.0

    @given(suspended=seconds)
    def test_a_host_that_was_suspended_while_its_monotonic_clock_stood_still(self, suspended: float) -> None:
        assert step_between(*looks(between=1, ledger=1 + suspended, wall=1 + suspended)) == 0.0

    @given(step=st.floats(-1e6, 1e6))
    def test_a_step_of_this_hosts_own_time_of_day(self, step: float) -> None:
        assert step_between(*looks(between=1, ledger=1, wall=1 + step)) == 0.0


class TestSteps:
    def test_each_is_logged_once_by_all_workers_together(
        self,
        ledger: Ledger,
        settings: Settings,
        stepping_valkey: SteppingValkey,
        log: pytest.LogCaptureFixture,
    ) -> None:
        sweepers = [make_sweeper(ledger, settings) for _ in range(3)]
        for step in (0, -600, 600, -120, -120):
            stepping_valkey.set_clock(step)
            for sweeper in sweepers:
                sweeper.round()
        said = [record.getMessage().partition(":")[0] for record in log.records]
        assert said == [
            "the ledger's clock stepped back by 600 s",
            "the ledger's clock stepped forward by 1200 s",
            "the ledger's clock stepped back by 720 s",
        ]

    def test_it_is_on_record_for_a_day(
        self, ledger: Ledger, settings: Settings, stepping_valkey: SteppingValkey
    ) -> None:
        sweeper = make_sweeper(ledger, settings)
        sweeper.round()
        assert clock_warning(ledger.redis) is None
        stepping_valkey.set_clock(-600)
        sweeper.round()
        warning = clock_warning(ledger.redis)
        assert warning is not None
        assert "stepped back by 600 s 0 minutes ago" in warning
        assert "time sync" in warning
        stepping_valkey.set_clock(86_400)
        assert clock_warning(ledger.redis) is None

    def test_a_ledger_that_was_away_is_compared_all_the_same(
        self, ledger: Ledger, log: pytest.LogCaptureFixture
    ) -> None:
        clock = LedgerClock(ledger)
        clock.look(clock.monotonic(), server_ms(ledger.redis))
        clock.look(clock.monotonic(), server_ms(ledger.redis) + 30_000)
        assert [record.getMessage().partition(":")[0] for record in log.records] == [
            "the ledger's clock stepped forward by 30 s"
        ]

    def test_the_clock_that_it_is_compared_with_goes_on_while_this_host_is_suspended(
        self, ledger: Ledger
    ) -> None:
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert 0 <= LedgerClock(ledger).monotonic() - since_boot < 5

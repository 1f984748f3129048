"""What the documents say of the gate in figures, for a quota of 25 requests a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from device_status import Lane
from device_status.ledger import Ledger, gate_key
from device_status.targets import OWN_ACCOUNT, Quotas, Target
from device_status_worker.gate import Gate, Gates, NoSlot, Slot
from support.clock import PassingTime, let_time_pass, server_ms
from support.simulation import Simulation

TARGET = Target(OWN_ACCOUNT, "eu-west-1", "", Quotas(update=25, read=50, list_users=30))
KEY = gate_key(TARGET, "UserResourceUpdate")


@pytest.fixture
def gate(ledger: Ledger, clock: PassingTime) -> Gate:
    return Gates(ledger.redis, clock).update(TARGET)


def take_slot(gate: Gate, lane: Lane = Lane.ROUTINE) -> Slot:
    slot = gate.wait_for_slot(lane)
    assert isinstance(slot, Slot)
    return slot


def seconds_between_turns(gate: Gate, ledger: Ledger) -> float:
    """How far the gate spaces two requests now."""
    ledger.redis.hdel(KEY, "next")  # As though nobody had reserved a turn, so that the next are near.
    moments = []
    for _ in range(3):
        gate._reserve(Lane.URGENT, has_turn=False)
        moments.append(int(ledger.redis.hget(KEY, "next")) / 1e6)
    # A pause of this process between two makes their distance longer, never shorter.
    return min(moments[1] - moments[0], moments[2] - moments[1])


class TestTheQuota:
    def test_98_percent_of_it_are_used(self, ledger: Ledger) -> None:
        simulation, sent = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, 25, simulation.wait)

        def work() -> None:
            while isinstance(gate.wait_for_slot(Lane.BULK), Slot):
                sent.append(simulation.now)

        simulation.run([work] * 4, seconds=10)
        assert 243 <= len(sent) <= 246

    def test_no_1018_milliseconds_see_more_than_25_requests_though_all_turns_have_come(
        self, ledger: Ledger
    ) -> None:
        simulation, slots = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, 25, simulation.wait)

        def work() -> None:
            microseconds = 0
            while not simulation.wait(microseconds / 1e6):
                kind, microseconds, *_ = gate._reserve(Lane.BULK, has_turn=True)
                if kind == "slot":
                    slots.append(simulation.now)

        simulation.run([work], seconds=6)
        spans = [last - first for first, last in zip(slots, slots[25:], strict=False)]
        assert spans
        assert min(spans) >= 1.018 - 1e-5
        assert max(spans) < 1.03, "and what may be used is used"

    def test_after_an_idle_hour_requests_are_as_far_apart_as_ever(
        self, gate: Gate, ledger: Ledger, clock: PassingTime
    ) -> None:
        take_slot(gate)
        let_time_pass(ledger.redis, 3600)
        began_at, waited = time.monotonic(), sum(clock.waits)
        for _ in range(11):
            take_slot(gate)
        # What this process itself took is a part of the ten intervals.
        passed = time.monotonic() - began_at + sum(clock.waits) - waited
        assert passed >= 10 / 24.5 - 0.001

    def test_a_request_may_leave_15_milliseconds_after_its_slot_and_not_later(
        self, gate: Gate, clock: PassingTime
    ) -> None:
        before = time.monotonic()
        slot = take_slot(gate)
        assert before + 0.015 <= slot.send_before <= time.monotonic() + 0.015 + sum(clock.waits)

    def test_a_host_that_was_too_slow_20_times_in_a_row_is_given_30_milliseconds(self, gate: Gate) -> None:
        def leeway() -> float:
            before = time.monotonic()
            slot = take_slot(gate)
            gate.give_back(slot)
            return slot.send_before - before

        # The shortest: this process may be held up too.
        assert 0.015 <= min(leeway() for _ in range(20)) < 0.03
        assert leeway() >= 0.03


class TestLanes:
    def test_an_urgent_command_waits_for_a_second_of_bulk_at_most(
        self, ledger: Ledger, gate: Gate, clock: PassingTime
    ) -> None:
        for _ in range(100):  # Four seconds of it, of which one may be reserved.
            gate._reserve(Lane.BULK, has_turn=False)
        take_slot(gate, Lane.URGENT)
        assert 0.5 < sum(clock.waits) < 1.2

    @pytest.mark.parametrize(("lane", "horizon"), [(Lane.URGENT, 10), (Lane.ROUTINE, 2), (Lane.BULK, 1)])
    def test_how_far_ahead_a_lane_reserves(
        self, lane: Lane, horizon: float, ledger: Ledger, gate: Gate
    ) -> None:
        while gate._reserve(lane, has_turn=False)[0] != "later":
            pass
        ahead = int(ledger.redis.hget(KEY, "next")) / 1000 - server_ms(ledger.redis)
        assert 1000 * horizon - 500 < ahead <= 1000 * horizon + 1000 / 24.5


class TestWhatTheServiceSays:
    def test_a_throttle_takes_three_tenths_and_half_a_minute_gives_all_back(
        self, gate: Gate, ledger: Ledger
    ) -> None:
        for _ in range(20):  # Of one second: they meet the same throttle.
            gate.throttled()
        assert seconds_between_turns(gate, ledger) == pytest.approx(1 / (0.7 * 24.5), rel=0.05)
        let_time_pass(ledger.redis, 30)
        assert seconds_between_turns(gate, ledger) == pytest.approx(1 / 24.5, rel=0.01)

    def test_a_service_that_fails_every_request_is_probed_every_three_seconds(
        self, gate: Gate, ledger: Ledger
    ) -> None:
        for _ in range(100):
            gate.fault()
        assert seconds_between_turns(gate, ledger) == pytest.approx(3, rel=0.01)

    def test_a_fault_of_ours_is_15_seconds_without_a_request_and_then_a_probe_every_three(
        self, gate: Gate, ledger: Ledger
    ) -> None:
        gate.pause("ExpiredTokenException")
        answer = gate.wait_for_slot(Lane.URGENT)  # A second of the fifteen passes in it.
        assert isinstance(answer, NoSlot)
        assert 13 < answer.due_in < 16.1
        let_time_pass(ledger.redis, 12)
        assert isinstance(gate.wait_for_slot(Lane.URGENT), NoSlot)
        let_time_pass(ledger.redis, 1.1)
        assert seconds_between_turns(gate, ledger) == pytest.approx(3, rel=0.01)

    @pytest.mark.parametrize("news", ["throttled", "fault"])
    def test_every_process_hears_of_it(
        self, news: str, gate: Gate, ledger: Ledger, clock: PassingTime
    ) -> None:
        tell: Callable[[], None] = getattr(gate, news)
        tell()
        elsewhere = Gates(ledger.redis, clock).update(TARGET)
        assert seconds_between_turns(elsewhere, ledger) > 1.2 / 24.5

"""Promises of the gate: the quota is kept, used to the full, and adapts to what the service says."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import pytest

from device_status import Lane, Settings, load_settings
from device_status.ledger import Ledger, gate_key
from device_status.targets import OWN_ACCOUNT, Quotas, Target
from device_status_worker.gate import (
    HEADROOM,
    HORIZON,
    LATEST,
    MISSED,
    MOST_WAIT_PAUSED,
    PAUSE,
    PROBE_RATE,
    Gate,
    Gates,
    NoSlot,
    Slot,
)
from support.clock import PassingTime, let_time_pass
from support.simulation import Simulation

QUOTA = 25
REGION = "eu-west-1"


def target(region: str = REGION, quota: float = QUOTA) -> Target:
    return Target(OWN_ACCOUNT, region, "", Quotas(update=quota, read=50, list_users=30))


KEY = gate_key(target(), "UserResourceUpdate")
CEILING = QUOTA * (1 - HEADROOM)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, update_quota=QUOTA)


@pytest.fixture
def clock(ledger: Ledger) -> PassingTime:
    return PassingTime(ledger.redis)


@pytest.fixture
def gate(ledger: Ledger, settings: Settings, clock: PassingTime) -> Gate:
    return Gates(ledger.redis, clock).update(target())


def at_once(ledger: Ledger, settings: Settings, region: str = REGION) -> Gate:
    """A gate that doesn't wait."""
    return Gates(ledger.redis, lambda seconds: False).update(target(region))


def turns(ledger: Ledger, settings: Settings, count: int, lane: Lane = Lane.URGENT) -> list[float]:
    """Reserve turns, without waiting for them; when the one after each is, in seconds of the server."""
    gate, times = at_once(ledger, settings), []
    for _ in range(count):
        gate._reserve(lane, has_turn=False)
        times.append(int(ledger.redis.hget(KEY, "next")) / 1e6)
    return times


def rate(ledger: Ledger, settings: Settings) -> float:
    """Requests a second that the gate admits now."""
    ledger.redis.hdel(KEY, "next")  # As though no turn had been taken, so that the next are near.
    times = turns(ledger, settings, 3)
    # A pause of this process between two makes their distance longer, never shorter.
    return 1 / min(later - earlier for earlier, later in pairwise(times))


def part(ledger: Ledger, settings: Settings) -> float:
    """The rate as a part of the ceiling."""
    return rate(ledger, settings) / CEILING


def most_in_a_second(times: Sequence[float]) -> int:
    """Of all seconds, wherever they begin."""
    return max(bisect_left(times, first + 1) - index for index, first in enumerate(times))


class TestQuota:
    def test_turns_are_evenly_spaced(self, ledger: Ledger, settings: Settings) -> None:
        times = turns(ledger, settings, 100)
        distances = [later - earlier for earlier, later in pairwise(times)]
        assert distances == pytest.approx([1 / CEILING] * 99, abs=2e-6)

    def test_an_idle_time_is_not_saved_up(self, ledger: Ledger, settings: Settings) -> None:
        turns(ledger, settings, 1)
        let_time_pass(ledger.redis, 3600)
        times = turns(ledger, settings, 10)
        assert times[-1] - times[0] >= 9 / CEILING - 1e-5

    @pytest.mark.parametrize("quota", [QUOTA, 100])
    @pytest.mark.parametrize(
        "late",
        [
            pytest.param(lambda chance: 0.0, id="in time"),
            pytest.param(lambda chance: chance.expovariate(200), id="5 ms late"),
            pytest.param(lambda chance: 0.15 if chance.random() < 0.05 else 0.001, id="some 150 ms late"),
            pytest.param(lambda chance: 0.3 * chance.random() ** 3, id="up to 300 ms late"),
        ],
    )
    def test_many_threads_of_two_processes_keep_one_quota_and_use_it(
        self, quota: int, late: Callable[[random.Random], float], ledger: Ledger
    ) -> None:
        chance, sent = random.Random(1), []
        simulation = Simulation(ledger.redis, lambda: late(chance))
        gates = [Gate(simulation.scripts, KEY, quota, simulation.wait) for _ in range(2)]

        def work(gate: Gate) -> None:
            while isinstance(gate.wait_for_slot(Lane.BULK), Slot):
                sent.append(simulation.now)

        simulation.run([partial(work, gates[number % 2]) for number in range(32)], seconds=30)
        assert most_in_a_second(sent) <= quota
        # Turns are reserved a second ahead, and what comes late is made up for: nothing passes unused.
        assert (len(sent) - 1) / (sent[-1] - sent[0]) == pytest.approx(quota * (1 - HEADROOM), rel=0.02)

    @pytest.mark.timeout(600)  # Of processor time it needs a minute, and more where others want it too.
    @pytest.mark.parametrize("lane", Lane)
    @pytest.mark.parametrize(("quota", "threads"), [(1, 16), (25, 320)])
    def test_more_threads_than_the_quota_can_serve_in_time_do_not_waste_it(
        self, lane: Lane, quota: int, threads: int, ledger: Ledger
    ) -> None:
        simulation, slots = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, quota, simulation.wait, lambda: simulation.now)

        def work() -> None:
            while True:
                match gate.wait_for_slot(lane):
                    case Slot():
                        slots.append(simulation.now)
                    case NoSlot(due_in, "NoSlotNear"):
                        simulation.wait(due_in)
                    case NoSlot():
                        return

        simulation.run([work] * threads, seconds=40)
        assert len(slots) >= 0.9 * 40 * quota

    def test_a_slot_given_back_is_had_by_others(self, ledger: Ledger, settings: Settings) -> None:
        gate = at_once(ledger, settings)
        slot = gate.wait_for_slot(Lane.ROUTINE)
        assert isinstance(slot, Slot)
        after = int(ledger.redis.hget(KEY, "next"))
        for _ in range(2):  # A repeat gives nothing twice.
            gate.give_back(slot)
            assert ledger.redis.zcard(f"{KEY}:slots") == 0
            assert int(ledger.redis.hget(KEY, "next")) == pytest.approx(after - 1e6 / CEILING, abs=2)

    def test_a_quota_below_one_a_second(self, ledger: Ledger, clock: PassingTime) -> None:
        gate = Gates(ledger.redis, clock).update(target(quota=0.25))
        for _ in range(3):
            assert isinstance(gate.wait_for_slot(Lane.ROUTINE), Slot)
        assert sum(clock.waits) == pytest.approx(2 / 0.25 / (1 - HEADROOM), abs=0.5)

    def test_another_region_has_its_own(self, ledger: Ledger, settings: Settings, clock: PassingTime) -> None:
        turns(ledger, settings, QUOTA)
        other = Gates(ledger.redis, clock).update(target("us-east-1"))
        other.wait_for_slot(Lane.BULK)
        assert clock.waits == [0]

    def test_another_category_has_its_own(
        self, ledger: Ledger, settings: Settings, clock: PassingTime
    ) -> None:
        turns(ledger, settings, QUOTA)
        Gates(ledger.redis, clock).read(target()).wait_for_slot(Lane.BULK)
        assert clock.waits == [0]

    def test_a_slot_is_void_soon_after_its_moment(self, gate: Gate, clock: PassingTime) -> None:
        before = time.monotonic()
        slot = gate.wait_for_slot(Lane.ROUTINE)
        assert isinstance(slot, Slot)
        assert before + LATEST <= slot.send_before <= time.monotonic() + LATEST + clock.waits[0]

    def test_a_host_too_slow_for_that_is_given_more(self, gate: Gate, clock: PassingTime) -> None:
        def leeway() -> float:
            before = time.monotonic()
            slot = gate.wait_for_slot(Lane.ROUTINE)
            assert isinstance(slot, Slot)
            gate.give_back(slot)
            return slot.send_before - before - clock.waits[-1]

        # The shortest: this process may be held up too.
        assert LATEST <= min(leeway() for _ in range(MISSED)) < 2 * LATEST
        assert leeway() >= 2 * LATEST
        slot = gate.wait_for_slot(Lane.ROUTINE)
        assert isinstance(slot, Slot)
        gate.answered(slot)
        assert min(leeway() for _ in range(MISSED)) < 2 * LATEST


class TestLanes:
    @pytest.mark.parametrize("lane", Lane)
    def test_a_lane_reserves_no_further_ahead_than_its_horizon(
        self, lane: Lane, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        turns(ledger, settings, int(CEILING * (HORIZON[Lane.URGENT] + 0.5)))
        kind, microseconds = gate._reserve(lane, has_turn=False)
        assert kind == "later"
        let_time_pass(ledger.redis, microseconds / 1e6 + 0.001)
        kind, microseconds = gate._reserve(lane, has_turn=False)
        assert kind == "turn"
        assert HORIZON[lane] - 0.5 < microseconds / 1e6 <= HORIZON[lane]

    def test_urgent_goes_before_bulk_that_waits(
        self, ledger: Ledger, settings: Settings, gate: Gate, clock: PassingTime
    ) -> None:
        # As far as bulk may go, and one more.
        turns(ledger, settings, int(CEILING * HORIZON[Lane.BULK]) + 2, Lane.BULK)
        seconds, microseconds = ledger.redis.time()
        urgent = turns(ledger, settings, 50, Lane.URGENT)
        assert urgent[0] <= seconds + microseconds / 1e6 + HORIZON[Lane.BULK] + 3 / CEILING
        # Bulk comes when those are through.
        gate.wait_for_slot(Lane.BULK)
        assert sum(clock.waits) >= 50 / CEILING


class TestThrottles:
    def test_a_throttle_slows_everybody_down(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        gate.throttled()
        assert part(ledger, settings) == pytest.approx(0.7, abs=0.06)

    def test_many_of_one_second_count_as_one(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        for _ in range(5):
            gate.throttled()
        assert part(ledger, settings) >= 0.69

    def test_one_of_the_next_second_counts_again(
        self, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        for _ in range(3):
            gate.throttled()
            let_time_pass(ledger.redis, 1)
        assert part(ledger, settings) == pytest.approx((0.7**3 + 0.7**2 / 30 + 0.7 / 30 + 1 / 30), abs=0.06)

    def test_the_rate_grows_back_evenly(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        gate.throttled()
        for expected in (0.8, 0.9, 1.0, 1.0):
            let_time_pass(ledger.redis, 3)
            assert part(ledger, settings) == pytest.approx(expected, abs=0.06)

    def test_from_nothing_it_takes_half_a_minute(
        self, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        for _ in range(30):
            gate.throttled()
            let_time_pass(ledger.redis, 1)
        lowest = part(ledger, settings)
        assert lowest < 0.2
        let_time_pass(ledger.redis, 15)
        assert part(ledger, settings) == pytest.approx(lowest + 0.5, abs=0.06)
        let_time_pass(ledger.redis, 15)
        assert part(ledger, settings) == pytest.approx(1.0, abs=0.001)

    def test_another_region_is_not_concerned(self, ledger: Ledger, settings: Settings) -> None:
        at_once(ledger, settings, "us-east-1").throttled()
        assert part(ledger, settings) == pytest.approx(1.0, abs=0.001)


class TestFaults:
    def test_each_halves_the_rate(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        for number in range(4):
            assert part(ledger, settings) == pytest.approx(0.5**number, rel=0.01)
            gate.fault()

    def test_probes_go_on(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        for _ in range(50):
            gate.fault()
        assert rate(ledger, settings) == pytest.approx(PROBE_RATE, rel=0.01)

    def test_successes_restore_it_as_fast(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        for _ in range(50):
            gate.fault()
        before = 0.0
        for _ in range(7):  # log2 of ceiling / probe rate
            now = rate(ledger, settings)
            assert now > before
            slot = gate.wait_for_slot(Lane.ROUTINE)
            assert isinstance(slot, Slot)
            gate.answered(slot)
            before = now
        assert part(ledger, settings) == pytest.approx(1.0, rel=0.001)

    def test_success_on_a_sound_gate_asks_the_server_nothing(
        self, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        slot = gate.wait_for_slot(Lane.ROUTINE)
        assert isinstance(slot, Slot)
        before = ledger.redis.hgetall(KEY)
        gate.answered(slot)
        assert not slot.degraded
        assert ledger.redis.hgetall(KEY) == before


class TestPause:
    def test_nobody_gets_a_slot_and_all_hear_why(self, ledger: Ledger, settings: Settings) -> None:
        at_once(ledger, settings).pause("ExpiredTokenException")
        for _ in range(2):
            answer = at_once(ledger, settings).wait_for_slot(Lane.URGENT)
            assert isinstance(answer, NoSlot)
            assert answer.why == "GatePaused:ExpiredTokenException"
            assert PAUSE - 2 < answer.due_in < PAUSE + 1

    def test_it_ends_with_a_probe(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        gate.pause("ExpiredTokenException")
        let_time_pass(ledger.redis, PAUSE)
        assert rate(ledger, settings) == pytest.approx(PROBE_RATE, rel=0.01)

    def test_a_success_after_it_ends_it_for_good(
        self, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        gate.pause("ExpiredTokenException")
        let_time_pass(ledger.redis, PAUSE)
        slot = gate.wait_for_slot(Lane.ROUTINE)
        assert isinstance(slot, Slot)
        gate.answered(slot)
        assert not ledger.redis.hmget(KEY, "paused_until")[0]
        assert rate(ledger, settings) > 1.1 * PROBE_RATE

    def test_a_thread_waits_for_its_end_no_longer_than_others_can_wait_for_the_thread(
        self, ledger: Ledger, settings: Settings
    ) -> None:
        waits: list[float] = []

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            return False

        gate = Gates(ledger.redis, wait).update(target())
        gate.pause("ExpiredTokenException")
        assert isinstance(gate.wait_for_slot(Lane.URGENT), NoSlot)
        assert sum(waits) <= MOST_WAIT_PAUSED

    def test_another_region_goes_on(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        gate.pause("ExpiredTokenException")
        assert isinstance(at_once(ledger, settings, "us-east-1").wait_for_slot(Lane.BULK), Slot)


def test_a_worker_that_shuts_down_takes_no_slot(gate: Gate, clock: PassingTime) -> None:
    clock.stops = True
    assert gate.wait_for_slot(Lane.ROUTINE) == NoSlot(0, "ShuttingDown")

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


def next_turn_in(ledger: Ledger) -> float:
    """Seconds from now to the next turn that is free."""
    seconds, microseconds = ledger.redis.time()
    return int(ledger.redis.hget(KEY, "next")) / 1e6 - seconds - microseconds / 1e6


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


class TestDifferentQuotas:
    """Workers that were given different quotas keep the lowest."""

    def test_a_second_sees_no_more_than_the_lowest(self, ledger: Ledger) -> None:
        simulation, sent = Simulation(ledger.redis, lambda: 0.0), []
        gates = [Gate(simulation.scripts, KEY, quota, simulation.wait) for quota in (200, 25)]

        def work(gate: Gate) -> None:
            while isinstance(gate.wait_for_slot(Lane.BULK), Slot):
                sent.append(simulation.now)

        simulation.run([partial(work, gates[number % 2]) for number in range(16)], seconds=10)
        assert most_in_a_second(sent) <= 25
        assert len(sent) >= 0.95 * 25 * 10, "and it is used"

    def test_what_the_higher_reserved_before_is_held_back(self, ledger: Ledger) -> None:
        simulation, sent = Simulation(ledger.redis, lambda: 0.0), []
        high, low = (Gate(simulation.scripts, KEY, quota, simulation.wait) for quota in (200, 25))

        def work(gate: Gate, since: float) -> None:
            simulation.wait(since)
            while isinstance(gate.wait_for_slot(Lane.BULK), Slot):
                sent.append(simulation.now)

        began_at = simulation.now
        simulation.run([*[partial(work, high, 0)] * 16, partial(work, low, 3)], seconds=10)
        before = [at for at in sent if at < began_at + 2]
        assert most_in_a_second(before) > 150, "alone it has its own quota"
        assert most_in_a_second([at for at in sent if at > began_at + 3]) <= 25

    def test_the_lowest_holds_for_a_minute_after_it_asked_last(
        self, ledger: Ledger, clock: PassingTime
    ) -> None:
        def interval() -> float:
            ledger.redis.hdel(KEY, "next")
            before = ledger.redis.time()
            gate(200)._reserve(Lane.URGENT, has_turn=False)
            return int(ledger.redis.hget(KEY, "next")) / 1e6 - before[0] - before[1] / 1e6

        def gate(quota: float) -> Gate:
            return Gates(ledger.redis, clock).update(target(quota=quota))

        gate(25)._reserve(Lane.BULK, has_turn=False)
        for _ in range(5):
            assert interval() > 1 / 25
            let_time_pass(ledger.redis, 11)
        let_time_pass(ledger.redis, 6)  # 61 s.
        assert interval() < 0.5 / 25

    def test_of_three_the_second_lowest_holds_when_the_lowest_is_gone(
        self, ledger: Ledger, clock: PassingTime
    ) -> None:
        gates = {quota: Gates(ledger.redis, clock).update(target(quota=quota)) for quota in (5, 25, 200)}
        gates[5]._reserve(Lane.BULK, has_turn=False)
        let_time_pass(ledger.redis, 20)
        for quota in (25, 200):
            gates[quota]._reserve(Lane.BULK, has_turn=False)
        assert float(ledger.redis.hget(KEY, "ceiling")) == pytest.approx(5 * 0.98)
        let_time_pass(ledger.redis, 41)
        gates[200]._reserve(Lane.BULK, has_turn=False)
        assert float(ledger.redis.hget(KEY, "ceiling")) == pytest.approx(25 * 0.98)

    def test_who_finds_no_turn_near_has_asked_too(self, ledger: Ledger, clock: PassingTime) -> None:
        high, low = (Gates(ledger.redis, clock).update(target(quota=quota)) for quota in (200, 25))
        for _ in range(500):
            high._reserve(Lane.URGENT, has_turn=False)
        assert low._reserve(Lane.BULK, has_turn=False)[0] == "later"
        let_time_pass(ledger.redis, 5)
        high._reserve(Lane.URGENT, has_turn=False)
        assert float(ledger.redis.hget(KEY, "ceiling")) == pytest.approx(25 * 0.98)

    def test_a_throttle_cuts_what_holds(self, ledger: Ledger, clock: PassingTime) -> None:
        high, low = (Gates(ledger.redis, clock).update(target(quota=quota)) for quota in (200, 25))
        low._reserve(Lane.BULK, has_turn=False)
        high.throttled()
        assert float(ledger.redis.hget(KEY, "rate")) == pytest.approx(0.7 * 25 * 0.98)

    def test_a_step_back_keeps_the_lowest_no_longer(self, ledger: Ledger, clock: PassingTime) -> None:
        high, low = (Gates(ledger.redis, clock).update(target(quota=quota)) for quota in (200, 25))
        low._reserve(Lane.BULK, has_turn=False)
        let_time_pass(ledger.redis, -600)
        high._reserve(Lane.BULK, has_turn=False)
        assert float(ledger.redis.hget(KEY, "ceiling")) == pytest.approx(25 * 0.98)
        let_time_pass(ledger.redis, 61)
        high._reserve(Lane.BULK, has_turn=False)
        assert float(ledger.redis.hget(KEY, "ceiling")) == pytest.approx(200 * 0.98)


class TestCost:
    """What a slot costs the server: calls within the scripts, and scripts."""

    def calls(self, ledger: Ledger, ask: Callable[[], object]) -> int:
        """How many commands ran, those inside scripts too and the script's own call not."""
        ask()  # Loads the script.
        ledger.redis.config_resetstat()
        ask()
        stats = ledger.redis.info("commandstats")
        others = ("cmdstat_config", "cmdstat_info", "cmdstat_evalsha")
        return sum(stat["calls"] for name, stat in stats.items() if not name.startswith(others))

    def test_a_turn_and_a_slot_cost_eleven_calls(self, ledger: Ledger, settings: Settings) -> None:
        gate = at_once(ledger, settings)
        turns(ledger, settings, 10)
        assert self.calls(ledger, lambda: gate._reserve(Lane.URGENT, has_turn=False)) == 4

        def take() -> None:
            let_time_pass(ledger.redis, 0.3)
            ledger.redis.config_resetstat()
            assert gate._reserve(Lane.URGENT, has_turn=True)[0] == "slot"

        assert self.calls(ledger, take) == 7

    def test_a_slot_after_an_idle_time_costs_nine(self, ledger: Ledger, settings: Settings) -> None:
        gate = at_once(ledger, settings)

        def take() -> None:
            let_time_pass(ledger.redis, 60)
            ledger.redis.config_resetstat()
            assert gate._reserve(Lane.URGENT, has_turn=False)[0] == "slot"

        assert self.calls(ledger, take) == 9

    def test_no_turn_costs_two_and_no_slot_five(self, ledger: Ledger, settings: Settings) -> None:
        gate = at_once(ledger, settings)
        turns(ledger, settings, 100)
        assert self.calls(ledger, lambda: gate._reserve(Lane.BULK, has_turn=False)) == 2
        gate._reserve(Lane.BULK, has_turn=True)
        assert self.calls(ledger, lambda: gate._reserve(Lane.BULK, has_turn=True)) <= 5


STEPS_BACK = [-7200, -120, -13, -5, -0.3]
STEPS_FORWARD = [0.4, 1, 5, 120, 7200]


def sent_over_a_step(
    ledger: Ledger,
    step: float,
    quota: int = QUOTA,
    late: Callable[[random.Random], float] = lambda chance: 0.0,
) -> list[float]:
    """When requests left in 8 s of full work, in seconds from a step of the server's clock halfway."""
    chance = random.Random(1)
    simulation, sent = Simulation(ledger.redis, lambda: late(chance)), []
    gate = Gate(simulation.scripts, KEY, quota, simulation.wait, lambda: simulation.now)
    stepped_at = simulation.now + 4.013

    def work(lane: Lane) -> None:
        while True:
            match gate.wait_for_slot(lane):
                case Slot():
                    sent.append(simulation.now - stepped_at)
                case NoSlot(due_in, "NoSlotNear"):
                    simulation.wait(due_in)
                case NoSlot():
                    return

    def let_it_step() -> None:
        simulation.wait(4.013)
        simulation.step(step)

    lanes = [*[Lane.BULK] * 10, *[Lane.URGENT] * 4]
    simulation.run([*(partial(work, lane) for lane in lanes), let_it_step], seconds=8.013)
    return sent


class TestClockStepsBack:
    """The server's clock steps back: the gate goes on, and keeps its quota."""

    @pytest.mark.parametrize("step", STEPS_BACK)
    def test_the_quota_is_kept_and_used_on(self, step: float, ledger: Ledger) -> None:
        sent = sent_over_a_step(ledger, step)
        assert most_in_a_second(sent) <= QUOTA
        after = [0.0, *(at for at in sent if at > 0)]
        assert max(later - earlier for earlier, later in pairwise(after)) < 1.1
        assert len(after) >= 0.97 * QUOTA * 3  # Of four seconds, the one after the step may be lost.

    def test_a_slot_that_was_taken_a_moment_ago_still_counts(
        self, ledger: Ledger, settings: Settings
    ) -> None:
        gate = at_once(ledger, settings)
        for _ in range(QUOTA):
            while gate._reserve(Lane.URGENT, has_turn=True)[0] != "slot":
                let_time_pass(ledger.redis, 0.0205)
        let_time_pass(ledger.redis, -600)
        waited, answer = 0.0, gate._reserve(Lane.URGENT, has_turn=True)
        assert ledger.redis.zcard(f"{KEY}:slots") == QUOTA
        while answer[0] != "slot" and waited < 3:
            let_time_pass(ledger.redis, answer[1] / 1e6)
            waited += answer[1] / 1e6
            answer = gate._reserve(Lane.URGENT, has_turn=True)
        # They were taken within half a second.
        assert 0.4 < waited < 1.02

    def test_a_slot_of_the_same_microsecond_is_another_one(self, ledger: Ledger) -> None:
        simulation, answers = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, QUOTA, simulation.wait)

        def work() -> None:
            for step in (0, -0.5, 0):
                simulation.step(step)
                answers.append(gate._reserve(Lane.BULK, has_turn=True))
                simulation.wait(-step)

        simulation.run([work], seconds=5)
        kinds, names = [each[0] for each in answers], [each[-1] for each in answers]
        assert kinds == ["slot", "turn", "slot"]
        assert names[0] != names[2]
        assert ledger.redis.zcard(f"{KEY}:slots") == 2

    @pytest.mark.parametrize("lane", Lane)
    @pytest.mark.parametrize("step", [600, 120, 5, 1])
    def test_the_next_turn_is_as_near_as_it_was(
        self, step: float, lane: Lane, ledger: Ledger, settings: Settings
    ) -> None:
        turns(ledger, settings, 20)
        let_time_pass(ledger.redis, -step)
        gate = at_once(ledger, settings)
        kind, microseconds = gate._reserve(lane, has_turn=False)
        assert kind == "turn"
        assert microseconds / 1e6 < 20 / CEILING

    def test_who_is_told_to_come_later_finds_a_turn_then(self, ledger: Ledger, settings: Settings) -> None:
        turns(ledger, settings, int(3 * CEILING))
        let_time_pass(ledger.redis, -600)
        gate = at_once(ledger, settings)
        kind, microseconds = gate._reserve(Lane.BULK, has_turn=False)
        assert kind == "later"
        assert microseconds / 1e6 < 2.1
        let_time_pass(ledger.redis, 2.1)
        assert gate._reserve(Lane.BULK, has_turn=False)[0] == "turn"

    def test_turns_of_a_steady_clock_stay(self, ledger: Ledger, settings: Settings) -> None:
        turns(ledger, settings, int(9.9 * CEILING))
        at_once(ledger, settings)._reserve(Lane.BULK, has_turn=False)
        assert next_turn_in(ledger) > 9

    def test_a_pause_ends_in_time(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        gate.pause("ExpiredTokenException")
        let_time_pass(ledger.redis, -600)
        kind, microseconds, why = at_once(ledger, settings)._reserve(Lane.BULK, has_turn=False)
        assert (kind, why) == ("paused", "ExpiredTokenException")
        assert microseconds / 1e6 <= PAUSE
        let_time_pass(ledger.redis, PAUSE + 0.1)
        assert at_once(ledger, settings)._reserve(Lane.BULK, has_turn=False)[0] == "slot"

    @pytest.mark.parametrize("asks", [True, False], ids=["a request first", "a throttle first"])
    def test_a_rate_that_was_cut_grows_back_and_is_cut_again(
        self, asks: bool, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        gate.throttled()
        let_time_pass(ledger.redis, -600)
        if asks:
            assert part(ledger, settings) == pytest.approx(0.7, abs=0.06)
            let_time_pass(ledger.redis, 3)
            assert part(ledger, settings) == pytest.approx(0.8, abs=0.06)
        else:
            gate.throttled()  # Perhaps of the same second.
            let_time_pass(ledger.redis, 1)
            gate.throttled()
            assert part(ledger, settings) == pytest.approx(0.7 * (0.7 + 1 / 30), abs=0.06)

    def test_a_success_after_it_leaves_no_pause(self, ledger: Ledger, settings: Settings, gate: Gate) -> None:
        gate.pause("ExpiredTokenException")
        let_time_pass(ledger.redis, -600)
        gate.answered(Slot(0, degraded=True, name=""))
        assert not ledger.redis.hmget(KEY, "paused_until")[0]


class TestClockStepsForward:
    """The server's clock steps forward: what was sent just now is not taken for long past."""

    @pytest.mark.parametrize("step", STEPS_FORWARD)
    def test_a_second_sees_two_more_than_the_quota_at_most_and_it_is_used_on(
        self, step: float, ledger: Ledger
    ) -> None:
        sent = sent_over_a_step(ledger, step)
        assert most_in_a_second(sent) <= QUOTA + 2
        assert len([at for at in sent if at > 0]) >= 0.97 * QUOTA * 3

    @pytest.mark.parametrize("step", [0.4, 600])
    def test_of_a_larger_quota_it_sees_no_more(self, step: float, ledger: Ledger) -> None:
        assert most_in_a_second(sent_over_a_step(ledger, step, quota=100)) <= 100

    @pytest.mark.parametrize("step", [0.4, 600])
    def test_threads_that_come_late_change_nothing(self, step: float, ledger: Ledger) -> None:
        sent = sent_over_a_step(ledger, step, late=lambda chance: 0.3 * chance.random() ** 3)
        assert most_in_a_second(sent) <= QUOTA + 2

    @pytest.mark.parametrize("step", [0.1, 0.3])
    def test_a_short_step_lets_through_what_the_quota_has_for_it(self, step: float, ledger: Ledger) -> None:
        assert most_in_a_second(sent_over_a_step(ledger, step)) <= QUOTA * (1 + step) + 2

    def test_a_full_second_of_slots_is_waited_out(self, ledger: Ledger) -> None:
        simulation, sent = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, QUOTA, simulation.wait)

        def work() -> None:
            """As fast as slots come, which is half a second for all of a second's."""
            microseconds = 0
            while not simulation.wait(microseconds / 1e6):
                kind, microseconds, *_ = gate._reserve(Lane.BULK, has_turn=True)
                if kind == "slot":
                    sent.append(simulation.now)
                if len(sent) == QUOTA and simulation.server_ahead == 0:
                    simulation.step(600)

        simulation.run([work], seconds=5)
        assert most_in_a_second(sent) <= QUOTA + 2
        assert len(sent) > 2 * QUOTA, "and it goes on"

    def test_work_below_the_quota_never_waits(self, ledger: Ledger) -> None:
        """An idle time and a step look alike: each counts as one interval at least."""
        simulation, waits = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, QUOTA, simulation.wait)

        def work() -> None:
            for number in range(200):
                asked_at = simulation.now
                if not isinstance(gate.wait_for_slot(Lane.BULK), Slot):
                    return
                waits.append(simulation.now - asked_at)
                simulation.wait(60 if number % 50 == 0 else 0.35)

        simulation.run([work], seconds=1000)
        assert len(waits) == 200
        assert max(waits) == 0

    @pytest.mark.parametrize("quota", [0.5, 1, 2])
    def test_of_a_low_quota_no_less_than_an_interval_counts_as_one(
        self, quota: float, ledger: Ledger
    ) -> None:
        simulation, sent = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, quota, simulation.wait)

        def work() -> None:
            while not simulation.wait(0.31):
                if gate._reserve(Lane.BULK, has_turn=True)[0] == "slot":
                    sent.append(simulation.now * min(1, quota))

        simulation.run([work], seconds=20)
        assert most_in_a_second(sent) <= max(1, quota)
        assert len(sent) >= 0.7 * 20 * quota

    def test_a_service_that_fails_still_gets_probes_alone(
        self, ledger: Ledger, settings: Settings, gate: Gate
    ) -> None:
        gate.pause("ExpiredTokenException")
        let_time_pass(ledger.redis, 600)
        assert rate(ledger, settings) == pytest.approx(PROBE_RATE, rel=0.01)

    def test_probes_come_in_their_interval(self, ledger: Ledger) -> None:
        simulation, sent = Simulation(ledger.redis, lambda: 0.0), []
        gate = Gate(simulation.scripts, KEY, QUOTA, simulation.wait, lambda: simulation.now)
        gate.pause("ExpiredTokenException")
        began_at = simulation.now

        def work() -> None:
            while True:
                match gate.wait_for_slot(Lane.URGENT):
                    case Slot():
                        sent.append(simulation.now - began_at)
                    case NoSlot(due_in, "NoSlotNear" | "GatePaused:ExpiredTokenException"):
                        simulation.wait(due_in)
                    case NoSlot():
                        return

        simulation.run([work] * 8, seconds=60)
        assert len(sent) >= (60 - PAUSE - 2) * PROBE_RATE - 1


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

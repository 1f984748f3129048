"""The gate: the quota, the lanes, and what the service says."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_GATE: Final = "worker/device_status_worker/gate.py"
_LUA: Final = "worker/device_status_worker/lua"
_RESERVE: Final = f"{_LUA}/reserve.lua"
_PRELUDE: Final = f"{_LUA}/prelude_gate.lua"
_REPORT: Final = f"{_LUA}/report.lua"
_GIVE_BACK: Final = f"{_LUA}/give_back.lua"
_LEDGER: Final = "producers/device_status/ledger.py"
_TESTS: Final = "tests/unit/worker/test_gate.py"
_QUOTA: Final = f"{_TESTS}::TestQuota"
_FIGURES: Final = "tests/unit/worker/test_gate_figures.py"
_USED: Final = f"{_FIGURES}::TestTheQuota::test_98_percent_of_it_are_used"
_KEPT: Final = (
    f"{_FIGURES}::TestTheQuota::"
    "test_no_1018_milliseconds_see_more_than_25_requests_though_all_turns_have_come"
)
_SAID: Final = f"{_FIGURES}::TestWhatTheServiceSays"
_HALF_A_MINUTE: Final = f"{_SAID}::test_a_throttle_takes_three_tenths_and_half_a_minute_gives_all_back"
_PAUSED: Final = f"{_SAID}::test_a_fault_of_ours_is_15_seconds_without_a_request_and_then_a_probe_every_three"

MUTANTS: Final = (
    Mutant(
        "turns have no distance",
        _RESERVE,
        "turn + SECOND / rate",
        "turn",
        f"{_QUOTA}::test_turns_are_evenly_spaced",
    ),
    Mutant(
        "an idle time is saved up for a burst",
        _RESERVE,
        "math.max(gate.next, now)",
        "gate.next",
        f"{_FIGURES}::TestTheQuota::test_after_an_idle_hour_requests_are_as_far_apart_as_ever",
    ),
    Mutant(
        "slots are not counted",
        _RESERVE,
        "if earliest then slot =",
        "if false then slot =",
        _KEPT,
    ),
    Mutant(
        "slots are counted over a bare second",
        _RESERVE,
        "(1 + margin) * SECOND",
        "SECOND",
        _KEPT,
    ),
    Mutant(
        "one slot too many",
        _RESERVE,
        "-most, -most, 'WITHSCORES'",
        "-most - 1, -most - 1, 'WITHSCORES'",
        _KEPT,
    ),
    Mutant(
        "a fifth of the quota is left unused", _GATE, "HEADROOM: Final = 0.02", "HEADROOM: Final = 0.2", _USED
    ),
    Mutant(
        "a request may leave long after its slot",
        _GATE,
        "LATEST: Final = 0.015",
        "LATEST: Final = 0.15",
        f"{_FIGURES}::TestTheQuota::test_a_request_may_leave_15_milliseconds_after_its_slot_and_not_later",
    ),
    Mutant(
        "a slow host never sends anything",
        _GATE,
        "LATEST * 2 ** min(6, self._missed // MISSED)",
        "LATEST",
        f"{_FIGURES}::TestTheQuota::test_a_host_that_was_too_slow_20_times_in_a_row_is_given_30_milliseconds",
    ),
    Mutant(
        "a slot given back is lost",
        _GIVE_BACK,
        "redis.call('ZREM', slots, ARGV[1]) == 1",
        "true",
        f"{_QUOTA}::test_a_slot_given_back_is_had_by_others",
    ),
    Mutant(
        "a turn given back is lost",
        _GIVE_BACK,
        "known[1] - SECOND / known[2]",
        "known[1]",
        f"{_QUOTA}::test_a_slot_given_back_is_had_by_others",
    ),
    Mutant(
        "all Regions share one gate",
        _LEDGER,
        "{target.account}/{target.region}:{category}",
        "{target.account}:{category}",
        f"{_QUOTA}::test_another_region_has_its_own",
    ),
    Mutant(
        "all categories share one gate",
        _LEDGER,
        "{target.account}/{target.region}:{category}",
        "{target.account}/{target.region}",
        f"{_QUOTA}::test_another_category_has_its_own",
    ),
    Mutant(
        "bulk reserves without end, and urgent waits behind it",
        _RESERVE,
        "if turn - now > horizon then",
        "if false then",
        f"{_FIGURES}::TestLanes::test_an_urgent_command_waits_for_a_second_of_bulk_at_most",
    ),
    Mutant(
        "urgent reserves no further than bulk",
        _GATE,
        "Lane.URGENT: 10.0",
        "Lane.URGENT: 1.0",
        f"{_FIGURES}::TestLanes::test_how_far_ahead_a_lane_reserves",
    ),
    Mutant("a throttle changes nothing", _REPORT, "0.7 * gate.rate", "gate.rate", _HALF_A_MINUTE),
    Mutant(
        "one throttled second cuts the rate many times",
        _REPORT,
        "now - gate.rate_at >= SECOND",
        "true",
        _HALF_A_MINUTE,
    ),
    Mutant(
        "a rate that was cut stays so",
        _PRELUDE,
        "known[2] + gate.ceiling * (now - gate.rate_at) / recovery",
        "known[2]",
        _HALF_A_MINUTE,
    ),
    Mutant(
        "a service that fails gets requests at full speed",
        _RESERVE,
        "gate.rate / 2 ^ gate.faults",
        "gate.rate",
        f"{_TESTS}::TestFaults::test_each_halves_the_rate",
    ),
    Mutant(
        "a service that fails is hardly probed",
        _GATE,
        "PROBE_RATE: Final = 1 / 3",
        "PROBE_RATE: Final = 1 / 300",
        f"{_SAID}::test_a_service_that_fails_every_request_is_probed_every_three_seconds",
    ),
    Mutant(
        "faults are counted without end",
        _REPORT,
        "math.min(most, gate.faults + 1)",
        "gate.faults + 1",
        f"{_TESTS}::TestFaults::test_successes_restore_it_as_fast",
    ),
    Mutant(
        "successes restore nothing",
        _REPORT,
        "math.max(0, gate.faults - 1)",
        "gate.faults",
        f"{_TESTS}::TestFaults::test_successes_restore_it_as_fast",
    ),
    Mutant(
        "a pause lets requests through", _RESERVE, "if gate.paused_until > now then", "if false then", _PAUSED
    ),
    Mutant("a pause lasts for a second", _GATE, "PAUSE: Final = 15.0", "PAUSE: Final = 1.0", _PAUSED),
    Mutant(
        "after a pause all come at full speed", _REPORT, "'faults', most)", "'faults', gate.faults)", _PAUSED
    ),
)

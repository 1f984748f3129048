"""The gate: workers with different quotas, and a server's clock that steps."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "worker/device_status_worker/lua"
_PRELUDE: Final = f"{_LUA}/prelude_gate.lua"
_RESERVE: Final = f"{_LUA}/reserve.lua"
_TESTS: Final = "tests/unit/worker/test_gate.py"
_QUOTAS: Final = f"{_TESTS}::TestDifferentQuotas"
_BACK: Final = f"{_TESTS}::TestClockStepsBack"
_FORWARD: Final = f"{_TESTS}::TestClockStepsForward"
_STILL_COUNTS: Final = f"{_BACK}::test_a_slot_that_was_taken_a_moment_ago_still_counts"
_STEPPED: Final = "(at < known_at or at > known_at + longest)"

MUTANTS: Final = (
    Mutant(
        "each worker goes by its own quota",
        _PRELUDE,
        "lowest = math.min(lowest, quota)",
        "lowest = mine",
        f"{_QUOTAS}::test_a_second_sees_no_more_than_the_lowest",
    ),
    Mutant(
        "a lower quota holds without end",
        _PRELUDE,
        "elseif age < MINUTE then",
        "else",
        f"{_QUOTAS}::test_the_lowest_holds_for_a_minute_after_it_asked_last",
    ),
    Mutant(
        "only the latest quota but one is known",
        _PRELUDE,
        "others = others ..",
        "others =",
        f"{_QUOTAS}::test_of_three_the_second_lowest_holds_when_the_lowest_is_gone",
    ),
    Mutant(
        "a worker that gets no turn does not count",
        _RESERVE,
        "write_gate(gate)\n    return {'later'",
        "return {'later'",
        f"{_QUOTAS}::test_who_finds_no_turn_near_has_asked_too",
    ),
    Mutant(
        "a quota of before a step back holds for as long as the step",
        _PRELUDE,
        "as_text(math.min(at, now))",
        "at",
        f"{_QUOTAS}::test_a_step_back_keeps_the_lowest_no_longer",
    ),
    Mutant(
        "a step back stops turns for its length",
        _PRELUDE,
        "if ahead > 0 then",
        "if false then",
        f"{_BACK}::test_the_next_turn_is_as_near_as_it_was",
    ),
    Mutant(
        "turns stay as far ahead as they were at a step back",
        _PRELUDE,
        "reserve_next(gate, now)\n  end",
        "end",
        f"{_BACK}::test_who_is_told_to_come_later_finds_a_turn_then",
    ),
    Mutant(
        "a step back makes a pause longer",
        _PRELUDE,
        "if gate.paused_until > now + pause then",
        "if false then",
        f"{_BACK}::test_a_pause_ends_in_time",
    ),
    Mutant(
        "a step back keeps a rate from growing",
        _PRELUDE,
        "if gate.rate_at > now then",
        "if false then",
        f"{_BACK}::test_a_rate_that_was_cut_grows_back_and_is_cut_again",
    ),
    Mutant(
        "a step back stops slots for its length",
        _RESERVE,
        _STEPPED,
        "(at > known_at + longest)",
        _STILL_COUNTS,
    ),
    Mutant(
        "a step back reuses the name of a slot",
        _RESERVE,
        "while redis.call('ZADD', slots, 'NX', as_text(at), name) == 0 do name = name .. '+' end",
        "redis.call('ZADD', slots, as_text(at), name)",
        f"{_BACK}::test_a_slot_of_the_same_microsecond_is_another_one",
    ),
    Mutant(
        "a step forward is taken for time that passed",
        _RESERVE,
        _STEPPED,
        "at < known_at",
        f"{_FORWARD}::test_a_full_second_of_slots_is_waited_out",
    ),
    Mutant(
        "slots expire by a step forward",
        _RESERVE,
        "redis.call('EXPIRE', slots, DAY)",
        "redis.call('EXPIRE', slots, 61)",
        f"{_FORWARD}::test_a_second_sees_two_more_than_the_quota_at_most_and_it_is_used_on[120]",
    ),
    Mutant(
        "work below the quota waits as at a step",
        _RESERVE,
        "or known_at + interval",
        "or known_at",
        f"{_FORWARD}::test_work_below_the_quota_never_waits",
    ),
    Mutant(
        "a pause that is shorter than an interval counts as one",
        _RESERVE,
        "math.max(0.3 * SECOND, 8 * interval)",
        "0.3 * SECOND",
        f"{_FORWARD}::test_of_a_low_quota_no_less_than_an_interval_counts_as_one",
    ),
    Mutant(
        "who waits for a slot is not believed",
        _RESERVE,
        "if at > known_at + longest / 2 then",
        "if false then",
        _STILL_COUNTS,
    ),
    Mutant(
        "who waits for a slot looks again too late",
        _RESERVE,
        "math.min(slot - at, longest / 2)",
        "slot - at",
        _STILL_COUNTS,
    ),
)

"""Incidents that pause for long: they go on where they were, and undo nothing newer."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_RELEASE: Final = f"{_LUA}/release_fences.lua"
_AGE: Final = f"{_LUA}/prelude_incident.lua"
_TESTS: Final = "tests/unit/worker/test_incident_pauses.py"
_PAST: Final = f"{_TESTS}::TestPastTheRetention"
_FENCES: Final = f"{_TESTS}::TestFences"
_STAY: Final = f"{_FENCES}::test_they_stay_while_an_incident_of_their_pool_that_is_older_does_and_no_longer"
_ATTEMPTS: Final = f"{_TESTS}::TestAttempts"
_TOO_OLD: Final = "issued_at < now - retention and not incident and not ("

MUTANTS: Final = (
    Mutant(
        "a command of an incident is too old after a long pause",
        _CLAIM,
        _TOO_OLD,
        "issued_at < now - retention and not (",
        f"{_PAST}::test_it_goes_on_where_it_was_and_undoes_nothing_newer[False]",
    ),
    Mutant(
        "a command that names an incident is never too old",
        _CLAIM,
        _TOO_OLD,
        "issued_at < now - retention and not incident and not cjson.decode(command).incident_id and not (",
        f"{_PAST}::test_what_is_no_part_of_it_is_still_too_old",
    ),
    Mutant(
        "an incident undoes what is newer after a long pause",
        _SHARED,
        "redis.call('PERSIST', device)",
        "redis.call('PEXPIRE', device, retention + FENCE_EXTRA)",
        f"{_PAST}::test_it_goes_on_where_it_was_and_undoes_nothing_newer[True]",
    ),
    Mutant(
        "an incident undoes what was issued ahead of the clock",
        _SHARED,
        "if issued_at >= now or oldest and",
        "if oldest and",
        f"{_PAST}::test_a_command_issued_ahead_of_the_clock_before_it_was_opened_is_not_undone_either",
    ),
    Mutant(
        "a claim gives a fence that must stay an expiry",
        _SHARED,
        "(life ~= -1 or redis.call('HEXISTS', device, 'applied_at') == 0)",
        "true",
        f"{_FENCES}::test_a_claim_or_a_doubt_gives_them_no_expiry",
    ),
    Mutant(
        "a fence is released while an older incident needs it",
        _RELEASE,
        "'(' .. (oldest or now)",
        "'(' .. now",
        _STAY,
    ),
    Mutant(
        "fences stay forever",
        f"{_LUA}/forget.lua",
        "redis.call('ZADD', PREFIX .. 'fences:due', 0, pool)",
        "",
        _STAY,
    ),
    Mutant(
        "a fence ahead of the clock stays forever",
        _SHARED,
        "if not oldest then redis.call('ZADD', PREFIX .. 'fences:due', 'LT', issued_at, pool) end",
        "",
        f"{_FENCES}::test_one_ahead_of_the_clock_gets_its_expiry_when_the_clock_is_there",
    ),
    Mutant(
        "a script releases a million fences at once",
        _RELEASE,
        "'LIMIT', 0, ARGV[1])",
        "'LIMIT', 0, 1000000)",
        f"{_FENCES}::test_they_are_released_in_steps",
    ),
    Mutant(
        "a pause uses up the time for retries",
        _AGE,
        "now - math.max(first, tonumber(resumed_at or 0))",
        "now - first",
        f"{_ATTEMPTS}::test_a_pause_does_not_use_up_the_time_for_retries[AdminUpdateDeviceStatus]",
    ),
    Mutant(
        "a pause uses up the time to list a user's devices",
        f"{_LUA}/listing_claim.lua",
        "age_since(lease_now.first_at, lease_now.first_own, id, now, own)",
        "age_since(lease_now.first_at, lease_now.first_own, nil, now, own)",
        f"{_ATTEMPTS}::test_a_pause_does_not_use_up_the_time_for_retries[AdminListDevices]",
    ),
    Mutant(
        "what was paused once is tried forever",
        _AGE,
        "now - math.max(first, tonumber(resumed_at or 0))",
        "(resumed_at and 0 or now - first)",
        f"{_ATTEMPTS}::test_but_the_time_since_it_was_resumed_does",
    ),
)

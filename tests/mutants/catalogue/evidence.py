"""What is kept of an incident: all of it until the retention after its end, and then nothing."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_FORGET: Final = f"{_LUA}/forget.lua"
_FORGOTTEN: Final = f"{_LUA}/forgotten.lua"
_TESTS: Final = "tests/unit/worker/test_incident_evidence.py"
_KEPT: Final = f"{_TESTS}::TestWhatIsKept"
_FORGETTING: Final = f"{_TESTS}::TestForgetting"
_NOTHING_LEFT: Final = f"{_FORGETTING}::test_past_the_retention_after_its_end_nothing_of_it_is_left"
_IN_PORTIONS: Final = (
    f"{_FORGETTING}::test_nobody_sees_half_of_it_and_no_script_touches_more_than_its_portion"
)
_ANEW: Final = (
    f"{_TESTS}::TestOpenedAnew::test_no_outcome_of_the_earlier_life_is_taken_for_one_of_the_new[0-0]"
)

MUTANTS: Final = (
    Mutant(
        "a device of an incident is forgotten before the incident",
        _SHARED,
        "if not incident or redis.call('HEXISTS', entry, 'repair') == 1 then redis.call('PEXPIRE'",
        "if true then redis.call('PEXPIRE'",
        f"{_KEPT}::test_it_outlives_the_work_however_long_that_takes",
    ),
    Mutant(
        "a dead letter of an incident is forgotten before the incident",
        _SHARED,
        "redis.call('SADD', PREFIX .. 'incident:' .. incident.id .. ':letters', id)",
        "redis.call('ZADD', PREFIX .. 'dead:aging', now, id)",
        f"{_KEPT}::test_its_dead_letters_can_be_redriven_as_long_as_it_is_there",
    ),
    Mutant(
        "an incident is forgotten while it waits to be verified",
        _FORGET,
        "if redis.call('EXISTS', incident .. ':verify') == 1 then",
        "if false then",
        f"{_KEPT}::test_a_verification_that_waits_for_longer_than_the_retention_keeps_it",
    ),
    Mutant(
        "half of an incident that is forgotten is seen",
        _FORGET,
        "for _, part in ipairs(INCIDENT_PARTS) do redis.call('UNLINK', incident .. part) end",
        "",
        _IN_PORTIONS,
    ),
    Mutant(
        "the commands of a forgotten incident stay",
        _FORGOTTEN,
        "then redis.call('DEL', entry) end",
        "then redis.call('EXISTS', entry) end",
        _NOTHING_LEFT,
    ),
    Mutant(
        "the dead letters of a forgotten incident stay",
        _FORGOTTEN,
        "then exhume(id) end",
        "then redis.call('EXISTS', id) end",
        _NOTHING_LEFT,
    ),
    Mutant(
        "a forgotten incident stops the ledger while a million commands go",
        _FORGOTTEN,
        "redis.call('LPOP', devices, ARGV[1])",
        "redis.call('LPOP', devices, 1000000)",
        _IN_PORTIONS,
    ),
    Mutant(
        "a command is taken away with an earlier life of its incident",
        _FORGOTTEN,
        "if redis.call('HGET', entry, 'life') == life then",
        "if true then",
        _ANEW,
    ),
    Mutant(
        "a dead letter is taken away with an earlier life of its incident",
        _FORGOTTEN,
        "if redis.call('HGET', PREFIX .. 'dead-letter:' .. id, 'life') == life then",
        "if true then",
        _ANEW,
    ),
    Mutant(
        "a dead letter of a forgotten incident is redriven",
        f"{_LUA}/redrive.lua",
        "if known[8] and known[8] ~= '' and not incident then",
        "if false then",
        f"{_FORGETTING}::test_a_dead_letter_of_a_forgotten_incident_is_not_redriven",
    ),
)

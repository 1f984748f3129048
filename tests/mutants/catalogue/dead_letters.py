"""Dead letters: each once, with exact counts; redrive gives another life and takes none away."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_REDRIVE: Final = f"{_LUA}/redrive.lua"
_PURGE: Final = f"{_LUA}/purge.lua"
_BURY: Final = f"{_LUA}/bury.lua"
_TESTS: Final = "tests/integration/test_dead_letters.py"
_REDRIVING: Final = f"{_TESTS}::TestRedriving"
_PURGING: Final = f"{_TESTS}::TestPurging"
_BURIAL: Final = "tests/unit/worker/test_intake.py::TestBurial"

MUTANTS: Final = (
    Mutant(
        "a dead letter that comes again is counted again",
        _SHARED,
        "    return\n  elseif known[1] then\n    exhume(id)\n  end",
        "  end",
        f"{_BURIAL}::test_a_message_that_is_delivered_twice_is_buried_once",
    ),
    Mutant(
        "a dead letter that comes again is young again",
        _SHARED,
        "if known[1] and (known[2] or '') == life then",
        "if false then",
        f"{_BURIAL}::test_delivered_again_it_stays_as_old_as_it_is",
    ),
    Mutant(
        "a message that is no command is counted and not kept",
        _BURY,
        "'raw', ARGV[4]",
        "'raw', ''",
        f"{_BURIAL}::test_raw_bytes_are_bounded_and_the_reason_says_so",
    ),
    Mutant(
        "the count of dead letters only grows",
        _SHARED,
        "redis.call('HINCRBY', PREFIX .. 'dead:by-error', error_code, -1) <= 0",
        "false",
        f"{_PURGING}::test_all_are_removed_for_good",
    ),
    Mutant(
        "a purge takes away the young ones too",
        _PURGE,
        "math.min(now_ms(), ARGV[4]) - ARGV[2]",
        "now_ms()",
        f"{_PURGING}::test_only_the_older_ones_where_an_age_is_given",
    ),
    Mutant(
        "a conflict is redriven over the command that holds its key",
        _REDRIVE,
        " or known[3] == 'IdempotencyConflict'",
        "",
        "tests/unit/test_dead_letter_promises.py::TestConflicts::"
        "test_one_is_not_redriven_even_when_the_command_that_held_its_key_is_forgotten",
    ),
    Mutant(
        "a redrive ends the life of another command",
        _REDRIVE,
        "if holder[1] and (holder[1] ~= 'dead_lettered' or holder[2] ~= command_id) then",
        "if false then",
        f"{_REDRIVING}::test_an_old_letter_never_ends_the_life_of_a_newer_command_under_its_key",
    ),
    Mutant(
        "a redriven command is as old as before",
        _REDRIVE,
        "redis.call('DEL', entry)",
        "",
        f"{_REDRIVING}::test_the_next_attempt_is_the_first",
    ),
    Mutant(
        "a redriven command stays among the dead letters",
        _REDRIVE,
        "exhume(id)\nreturn {'redriven'",
        "return {'redriven'",
        f"{_REDRIVING}::test_a_redriven_command_is_not_redriven_twice",
    ),
)

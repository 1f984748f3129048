"""Requests that may still take effect when a newer command was applied."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_LATE: Final = f"{_LUA}/late.lua"
_SETTLE: Final = f"{_LUA}/settle.lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_LEDGER: Final = "tests/unit/test_ledger_machine.py::TestLateRequests"
_SCENARIOS: Final = "tests/unit/test_late_requests.py::TestWhatIsInDoubt"
_REPAIRED: Final = (
    f"{_SCENARIOS}::test_a_request_under_a_lost_claim_makes_the_newest_be_applied_once_more_and_once"
)

MUTANTS: Final = (
    Mutant(
        "a request under a lost claim is always harmless",
        _LATE,
        "if not fence[1] or tonumber(fence[1]) <= tonumber(order) then",
        "if true then",
        _REPAIRED,
    ),
    Mutant(
        "an older command's late request counts as a newer one's",
        _LATE,
        "tonumber(fence[1]) <= tonumber(order)",
        "false",
        f"{_LEDGER}::test_a_newer_lost_request_harms_no_older_command",
    ),
    Mutant(
        "a repair is made again and again",
        _LATE,
        "if redis.call('EXISTS', entry) == 1 then",
        "if false then",
        _REPAIRED,
    ),
    Mutant(
        "a request under a lost claim casts no doubt on what is under way",
        _LATE,
        "suspect(device, order, now, tonumber(ARGV[4]), tonumber(ARGV[3]))",
        "",
        f"{_LEDGER}::test_a_late_success_puts_a_newer_one_that_is_under_way_in_doubt",
    ),
    Mutant(
        "of two requests in doubt the older is forgotten",
        _SHARED,
        "is_other and 'several' or order",
        "order",
        f"{_SCENARIOS}::test_two_requests_in_doubt_leave_the_older_in_doubt_when_the_newer_is_applied",
    ),
    Mutant(
        "a request without an answer casts no doubt",
        _SETTLE,
        "if late > 0 then",
        "if false then",
        f"{_SCENARIOS}::test_a_dead_letter_whose_request_got_no_answer_casts_doubt_too",
    ),
    Mutant(
        "what may be undone has succeeded",
        _SETTLE,
        "if doubt > 0 and redis.call('HGET', device, 'suspect_order') ~= order then",
        "if false then",
        f"{_LEDGER}::test_what_is_applied_while_an_older_one_may_still_come_is_applied_once_more",
    ),
    Mutant(
        "a command's own earlier request casts doubt on it",
        _SETTLE,
        " and redis.call('HGET', device, 'suspect_order') ~= order then",
        " then",
        f"{_LEDGER}::test_its_own_earlier_request_does_it_no_harm",
    ),
    Mutant(
        "doubt never ends",
        _SETTLE,
        "if doubt > 0 and",
        "if redis.call('HEXISTS', device, 'suspect_until') == 1 and",
        f"{_SCENARIOS}::test_doubt_ends_after_half_a_minute",
    ),
    Mutant(
        "what was applied and may be undone expires",
        _CLAIM,
        "local is_half_way = known[6] or known[7]",
        "local is_half_way = known[6]",
        f"{_LEDGER}::test_it_does_not_expire_before_it_was_applied_once_more",
    ),
)

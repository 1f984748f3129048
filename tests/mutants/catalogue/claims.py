"""Claim, settle, enter: one owner, one outcome, and the newest command of a device wins."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_SETTLE: Final = f"{_LUA}/settle.lua"
_ENTER: Final = f"{_LUA}/enter.lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_COMMAND: Final = "producers/device_status/command.py"
_LEDGER: Final = "tests/unit/test_ledger_machine.py"
_ORDER: Final = f"{_LEDGER}::TestOrderOfOneDevice"
_LEASES: Final = f"{_LEDGER}::TestLeases"
_KEYS: Final = f"{_LEDGER}::TestSameKey"
_NO_CALL: Final = f"{_LEDGER}::TestNoCall"

MUTANTS: Final = (
    Mutant(
        "an older command is applied over a newer one",
        _CLAIM,
        "if holder[1] and tonumber(order) < tonumber(holder[1]) then",
        "if false then",
        f"{_ORDER}::test_an_older_command_never_wins",
    ),
    Mutant(
        "the fence does not rise",
        _SETTLE,
        "raise_fence(device, order, key, retention, pool, now)",
        "",
        f"{_ORDER}::test_an_older_command_never_wins",
    ),
    Mutant(
        "on a tie the first wins",
        _COMMAND,
        " + (self.status is Status.NOT_REMEMBERED)",
        "",
        f"{_ORDER}::test_on_a_tie_not_remembered_wins_when_it_comes_first",
    ),
    Mutant(
        "on a tie remembered wins",
        _COMMAND,
        "self.status is Status.NOT_REMEMBERED",
        "self.status is Status.REMEMBERED",
        f"{_ORDER}::test_on_a_tie_not_remembered_wins_when_it_comes_last",
    ),
    Mutant(
        "the fence is forgotten before the last older command is",
        f"{_LUA}/release_fences.lua",
        "fence_life(tonumber(ARGV[2]))",
        "ARGV[2]",
        f"{_ORDER}::test_the_fence_outlives_every_older_command_that_is_still_accepted",
    ),
    Mutant(
        "a repeat counts with its own, later time",
        _CLAIM,
        "elseif known[4] ~= command then",
        "elseif false then",
        f"{_ORDER}::test_a_repeat_with_a_later_time_does_not_overtake_a_newer_command",
    ),
    Mutant(
        "a command in hand is taken by a second worker",
        _CLAIM,
        "elseif state == 'claimed' and live and known[3] ~= owner then",
        "elseif false then",
        f"{_LEASES}::test_a_claimed_command_is_left_to_its_owner",
    ),
    Mutant(
        "two commands of one device are under way at once",
        _CLAIM,
        "elseif holder[2] and holder[2] ~= owner and",
        "elseif false and",
        f"{_LEASES}::test_a_leased_device_makes_the_next_command_wait",
    ),
    Mutant(
        "a worker that died made no attempt",
        _CLAIM,
        "count_attempt(entry, redis.call('HGET', entry, 'lease_until'), own)",
        "",
        f"{_LEASES}::test_taking_over_a_lease_that_ran_out_counts_an_attempt",
    ),
    Mutant(
        "a command that has its outcome is done again",
        _CLAIM,
        "elseif state ~= 'queued' and state ~= 'retry_wait' and state ~= 'claimed' then",
        "elseif false then",
        f"{_KEYS}::test_a_repeat_gets_the_first_outcome",
    ),
    Mutant(
        "other content under a known key is claimed",
        _CLAIM,
        "if known[1] ~= fingerprint then",
        "if false then",
        f"{_KEYS}::test_other_content_is_a_conflict_and_a_dead_letter",
    ),
    Mutant(
        "an expired command is applied",
        _CLAIM,
        "if expires_at and expires_at <= math.min(now, own) and not is_half_way then",
        "if false then",
        f"{_NO_CALL}::test_past_its_expiry_a_command_is_expired",
    ),
    Mutant(
        "a command from the future shuts out all that follow",
        _CLAIM,
        "elseif issued_at > math.max(now, own) + tonumber(ahead) then",
        "elseif false then",
        f"{_NO_CALL}::test_issued_more_than_five_minutes_ahead_it_is_a_dead_letter",
    ),
    Mutant(
        "a command older than every fence is applied",
        _CLAIM,
        "elseif issued_at < now - retention",
        "elseif false",
        f"{_NO_CALL}::test_issued_before_the_retention_it_is_a_dead_letter",
    ),
    Mutant(
        "who lost the claim decides the outcome",
        _SETTLE,
        "known[1] ~= 'claimed' or known[2] ~= owner or redis.call('HGET', device, 'owner') ~= owner",
        "false",
        f"{_LEASES}::test_who_lost_the_claim_changes_nothing",
    ),
    Mutant(
        "who lost the device decides the outcome",
        _SETTLE,
        " or redis.call('HGET', device, 'owner') ~= owner then",
        " then",
        f"{_LEDGER}::TestLateRequests::test_a_late_success_that_no_other_worker_took_over_is_no_different",
    ),
    Mutant(
        "a settlement said twice is another",
        _SETTLE,
        "if known[3] == owner then",
        "if false then",
        f"{_LEASES}::test_a_settlement_said_twice_counts_once",
    ),
    Mutant(
        "every throttle is an attempt",
        _SETTLE,
        "if attempt == 1 then",
        "if true then",
        f"{_LEASES}::test_a_throttle_is_no_attempt",
    ),
    Mutant(
        "a settled command keeps its device",
        _SETTLE,
        "redis.call('HDEL', device, 'owner', 'lease_until', 'lease_until_own')",
        "",
        f"{_LEASES}::test_a_settled_device_is_free_at_once",
    ),
    Mutant(
        "outcomes are kept forever",
        _SHARED,
        "redis.call('PEXPIRE', entry, retention)",
        "",
        f"{_LEDGER}::TestLookUp::test_an_outcome_is_forgotten_after_the_retention",
    ),
    Mutant(
        "a success keeps the error of an earlier attempt",
        _SHARED,
        "redis.call('HDEL', entry, 'error_code', 'error_message')",
        "",
        f"{_LEDGER}::TestLookUp::test_a_success_holds_no_error_of_an_earlier_attempt",
    ),
    Mutant(
        "other content under a known key is entered",
        _ENTER,
        "if known and known ~= fingerprint or reserved and not known then",
        "if reserved and not known then",
        f"{_KEYS}::test_other_content_is_a_conflict_and_a_dead_letter",
    ),
)

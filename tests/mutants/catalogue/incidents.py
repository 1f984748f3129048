"""Incidents: exact counters, an end that is one, steering, retention."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_SHARED: Final = f"{_LUA}/prelude_incident.lua"
_OPEN: Final = f"{_LUA}/incident_open.lua"
_SEAL: Final = f"{_LUA}/incident_seal.lua"
_STATE: Final = f"{_LUA}/incident_state.lua"
_USERS: Final = f"{_LUA}/incident_users.lua"
_WALK: Final = f"{_LUA}/incident_walk.lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_REDRIVE: Final = f"{_LUA}/redrive.lua"
_PROGRESS: Final = "producers/device_status/incident.py"
_PROMISES: Final = "tests/unit/test_incident_promises.py"
_COUNTS: Final = f"{_PROMISES}::TestCounts"
_CANCELLED: Final = f"{_PROMISES}::TestCancelled"
_WORKED: Final = "tests/unit/worker/test_incidents.py"
_STEERING: Final = f"{_WORKED}::TestSteering"

MUTANTS: Final = (
    Mutant(
        "a superseded command of an incident stays open",
        _SHARED,
        "redis.call('HINCRBY', incident, 'open', -1)",
        "if outcome ~= 'superseded' then redis.call('HINCRBY', incident, 'open', -1) end",
        f"{_COUNTS}::test_an_outcome_is_counted_once_and_closes_its_command[superseded-be_superseded]",
    ),
    Mutant(
        "an outcome is counted twice",
        _SHARED,
        "redis.call('HINCRBY', incident, outcome, 1)",
        "redis.call('HINCRBY', incident, outcome, 2)",
        f"{_COUNTS}::test_an_outcome_is_counted_once_and_closes_its_command[succeeded-succeed]",
    ),
    Mutant(
        "an incident ends with commands under way",
        _SHARED,
        " or tonumber(known[3]) > 0 or known[4] then",
        " or known[4] then",
        f"{_COUNTS}::test_a_retry_keeps_its_command_open",
    ),
    Mutant(
        "an incident ends with users who are not listed",
        _SHARED,
        " or tonumber(known[2]) > 0 or ",
        " or ",
        f"{_COUNTS}::test_a_user_who_waits_to_be_listed_keeps_it_open",
    ),
    Mutant(
        "a user who is named again is listed again",
        _SHARED,
        "local is_new = not outcome and not redis.call('ZSCORE', incident .. ':users', username)",
        "local is_new = true",
        f"{_WORKED}::TestEveryDevice::test_opened_again_it_repeats_nothing",
    ),
    Mutant(
        "a repair counts as a device",
        _SHARED,
        "if redis.call('HEXISTS', entry, 'repair') == 0 then",
        "if true then",
        "tests/unit/test_ledger_machine.py::TestLateRequests::"
        "test_a_repair_goes_on_while_its_incident_is_paused",
    ),
    Mutant(
        "an incident that goes on is forgotten with its old life",
        _SHARED,
        "redis.call('ZREM', PREFIX .. 'incidents:ended', id)",
        "",
        f"{_PROMISES}::TestReopened::test_with_more_devices_it_is_kept_for_as_long_as_they_take",
    ),
    Mutant(
        "an incident is kept forever",
        _SHARED,
        "redis.call('ZADD', PREFIX .. 'incidents:ended', now + known[2], id)",
        "",
        f"{_WORKED}::TestRetention::test_it_is_kept_for_the_retention_after_its_end",
    ),
    Mutant(
        "an incident is continued for another pool",
        _OPEN,
        "elseif known[1] ~= pool then",
        "elseif false then",
        f"{_STEERING}::test_another_pool_or_status_is_another_incident",
    ),
    Mutant(
        "a cancelled incident is opened again",
        _OPEN,
        "elseif known[3] == 'cancelled' then",
        "elseif false then",
        f"{_CANCELLED}::test_it_is_not_opened_again_for_a_whole_pool_either",
    ),
    Mutant(
        "an urgent incident waits for its turn",
        _OPEN,
        "return lane == 'urgent' and opened_at - 1e13 or opened_at",
        "return opened_at",
        f"{_WORKED}::TestEveryDevice::test_the_urgent_one_is_listed_first",
    ),
    Mutant(
        "the input of a whole pool is complete before it is read",
        _SEAL,
        "if redis.call('HGET', incident, 'all_users') ~= 'wanted' then",
        "if true then",
        f"{_WORKED}::TestEveryDevice::test_all_users_of_a_pool_are_read_page_by_page",
    ),
    Mutant(
        "an incident without users never ends",
        _SEAL,
        "end_if_done(ARGV[1], now_ms())",
        "",
        f"{_WORKED}::TestEveryDevice::test_without_users_nothing_succeeded",
    ),
    Mutant(
        "an incident that is over is cancelled",
        _STATE,
        "elseif known[2] or known[1] == 'cancelled' then",
        "elseif known[1] == 'cancelled' then",
        f"{_STEERING}::test_what_is_over_stays_as_it_is[cancel]",
    ),
    Mutant(
        "users are added to a cancelled incident",
        _USERS,
        "if not state or state == 'cancelled' then",
        "if not state then",
        f"{_CANCELLED}::test_nobody_is_added_to_it",
    ),
    Mutant(
        "what was applied and may be undone is cancelled half-way",
        _WALK,
        "elseif not command[4] and (command[1]",
        "elseif (command[1]",
        f"{_CANCELLED}::test_what_was_applied_and_may_be_undone_is_applied_once_more",
    ),
    Mutant(
        "what a worker has in hand is cancelled",
        _WALK,
        "left(entry, 'lease_until', now, own) == 0",
        "true",
        f"{_CANCELLED}::test_what_a_worker_has_in_hand_ends_as_its_request_does",
    ),
    Mutant(
        "users who were not listed any longer count as listed",
        _WALK,
        "finish_user(id, username, {outcome = 'cancelled'}, now)",
        "finish_user(id, username, {outcome = 'no_devices'}, now)",
        f"{_CANCELLED}::test_a_user_who_waits_is_not_listed_any_longer",
    ),
    Mutant(
        "what was held stays so after the pause",
        _WALK,
        "redis.call('ZADD', PREFIX .. 'open:' .. command[3], now, key)",
        "",
        f"{_PROMISES}::TestPaused::test_what_was_held_is_published_when_it_is_resumed",
    ),
    Mutant(
        "a command of a cancelled incident is claimed",
        _CLAIM,
        "if incident and incident.state == 'cancelled' and not is_half_way then",
        "if false then",
        f"{_CANCELLED}::test_no_worker_claims_what_the_cancelling_has_not_come_to_yet",
    ),
    Mutant(
        "a command of a paused incident is claimed",
        _CLAIM,
        "elseif incident and incident.state == 'paused' and not is_half_way then",
        "elseif false then",
        f"{_PROMISES}::TestPaused::test_what_was_held_is_published_when_it_is_resumed",
    ),
    Mutant(
        "what was applied and may be undone is held in a pause",
        _CLAIM,
        "elseif incident and incident.state == 'paused' and not is_half_way then",
        "elseif incident and incident.state == 'paused' then",
        f"{_PROMISES}::TestPaused::test_what_was_applied_and_may_be_undone_is_applied_once_more",
    ),
    Mutant(
        "a redriven device counts as dead still",
        _REDRIVE,
        "redis.call('HINCRBY', PREFIX .. 'incident:' .. incident.id, 'dead_lettered', -1)",
        "",
        f"{_WORKED}::TestFailures::test_a_dead_lettered_device_can_be_redriven",
    ),
    Mutant(
        "an incident without users has succeeded",
        _PROGRESS,
        "self.users == 0",
        "False",
        f"{_WORKED}::TestEveryDevice::test_without_users_nothing_succeeded",
    ),
)

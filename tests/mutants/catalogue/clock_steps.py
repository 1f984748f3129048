"""The ledger's clock steps: nothing ends by it, nothing waits for it, and it is noticed."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_CLOCKS: Final = f"{_LUA}/prelude_incident.lua"
_PULL_IN: Final = f"{_LUA}/pull_in.lua"
_NOTICED: Final = "worker/device_status_worker/ledger_clock.py"
_STEPS: Final = "tests/unit/test_clock_steps.py"
_ENDS: Final = f"{_STEPS}::TestWhatEndsACommand"
_LEASES: Final = f"{_STEPS}::TestLeases"
_KEEPS: Final = f"{_LEASES}::test_an_owner_keeps_its_command_and_its_device"
_KEPT: Final = f"{_STEPS}::TestWhatIsKept"
_BACK: Final = "tests/unit/worker/test_clock_steps_back.py"
_COMMANDS: Final = f"{_BACK}::TestCommands"
_INCIDENTS: Final = f"{_BACK}::TestIncidents"
_RETENTION: Final = f"{_BACK}::TestRetention"
_IS_NOTICED: Final = "tests/unit/worker/test_ledger_clock.py"
_ONCE: Final = f"{_IS_NOTICED}::TestSteps::test_each_is_logged_once_by_all_workers_together"

MUTANTS: Final = (
    Mutant(
        "a step back makes dead letters",
        _CLAIM,
        "issued_at > math.max(now, own)",
        "issued_at > now",
        f"{_ENDS}::test_a_step_alone_ends_none[-600]",
    ),
    Mutant(
        "a step forward lets commands expire",
        _CLAIM,
        "expires_at <= math.min(now, own)",
        "expires_at <= now",
        f"{_ENDS}::test_a_step_alone_ends_none[600]",
    ),
    Mutant(
        "a step forward by the retention makes dead letters",
        _CLAIM,
        "if issued_at >= own - retention then",
        "if false then",
        f"{_ENDS}::test_a_command_too_old_for_the_server_alone_waits_for_its_clock",
    ),
    Mutant(
        "a step forward uses up the time for attempts",
        _CLOCKS,
        ", own - (first_own or first)))",
        "))",
        f"{_ENDS}::test_a_step_does_not_use_up_the_time_for_attempts[0-172800]",
    ),
    Mutant(
        "a clock that is put right uses up the time for attempts",
        _CLOCKS,
        "own - (first_own or first)",
        "own - first",
        f"{_ENDS}::test_a_step_does_not_use_up_the_time_for_attempts[-172800-0]",
    ),
    Mutant(
        "an incident is opened in the future",
        _CLOCKS,
        "return math.abs(server - own) <= ahead and server or math.min(server, own) + ahead",
        "return server",
        f"{_ENDS}::test_and_so_are_the_commands_of_an_incident[3600]",
    ),
    Mutant(
        "a step forward ends leases",
        _CLOCKS,
        "local rest = math.max(by_server, by_own)",
        "local rest = by_server",
        f"{_KEEPS}[600]",
    ),
    Mutant(
        "a step back lengthens the lease of a dead worker",
        _CLOCKS,
        "rest = math.min(by_server, by_own, LONGEST)",
        "rest = LONGEST",
        f"{_LEASES}::test_a_dead_workers_lease_ends_after_a_minute[-600]",
    ),
    Mutant(
        "a step back of all clocks lengthens leases",
        _CLOCKS,
        "rest = math.min(by_server, by_own, LONGEST)",
        "rest = math.min(by_server, by_own)",
        f"{_LEASES}::test_even_if_all_clocks_step_back_together",
    ),
    Mutant(
        "a lease that is over comes back",
        _CLOCKS,
        "set_limit(record, name, now, own, rest)",
        "",
        f"{_LEASES}::test_one_that_is_over_stays_over_when_the_time_comes_that_it_was_set_to",
    ),
    Mutant(
        "a step forward makes the sweeper publish what is under way",
        f"{_LUA}/sweep.lua",
        "if lease > 0 then",
        "if false then",
        f"{_KEEPS}[600]",
    ),
    Mutant(
        "a step forward forgets who has a device",
        _CLOCKS,
        "local DEVICE_LIFE = 86400000",
        "local DEVICE_LIFE = 120000",
        f"{_KEEPS}[600]",
    ),
    Mutant(
        "a step forward makes a cancelled incident take what is under way",
        f"{_LUA}/incident_walk.lua",
        "left(entry, 'lease_until', now, own) == 0",
        "tonumber(redis.call('HGET', entry, 'lease_until')) <= now",
        f"{_LEASES}::test_a_cancelled_incident_leaves_what_is_under_way_to_its_owner",
    ),
    Mutant(
        "a step forward of a day forgets fences that are needed",
        _SHARED,
        "math.floor(retention / 7)",
        "0",
        f"{_STEPS}::TestDoubt::test_a_device_that_was_applied_once_keeps_its_fence_for_a_step_of_a_day",
    ),
    Mutant(
        "a step forward forgets evidence",
        f"{_LUA}/forget.lua",
        "math.min(now_ms(), ARGV[1])",
        "now_ms()",
        f"{_KEPT}::test_evidence_is_forgotten_by_both_clocks_and_not_by_one",
    ),
    Mutant(
        "a step forward purges dead letters",
        f"{_LUA}/purge.lua",
        "math.min(now_ms(), ARGV[4])",
        "now_ms()",
        f"{_KEPT}::test_so_are_dead_letters",
    ),
    Mutant(
        "dead letters of the future can't be purged",
        f"{_LUA}/purge.lua",
        "ARGV[2] == '0' and '+inf' or ",
        "",
        f"{_KEPT}::test_so_are_dead_letters",
    ),
    Mutant(
        "nobody looks for what stands in the future",
        "worker/device_status_worker/sweeper.py",
        "        pull_in(self._ledger)\n",
        "",
        f"{_COMMANDS}::test_a_retry_is_due_at_once",
    ),
    Mutant(
        "after a step back retries wait",
        _PULL_IN,
        "pull_in(PREFIX .. 'open:' .. lane, LONGEST,",
        "pull_in('', LONGEST,",
        f"{_COMMANDS}::test_a_retry_is_due_at_once",
    ),
    Mutant(
        "one portion of what stands in the future is mended",
        _NOTICED,
        "STEPS: Final = 20",
        "STEPS: Final = 1",
        f"{_COMMANDS}::test_a_backlog_of_retries_is_mended_in_portions_and_each_is_due",
    ),
    Mutant(
        "after a step back lost messages stay lost",
        _PULL_IN,
        "pull_in(PREFIX .. 'queued:' .. lane, 0)",
        "",
        f"{_COMMANDS}::test_a_lost_message_is_looked_for",
    ),
    Mutant(
        "a mark from before a step back says what is lost",
        f"{_LUA}/watermark.lua",
        "if mark and math.max(mark, published_at, received_at or 0) > now then",
        "if false then",
        f"{_COMMANDS}::test_a_mark_from_before_does_not_make_lost_what_is_queued_behind_it",
    ),
    Mutant(
        "after a step back a dead sweeper keeps the lead",
        f"{_LUA}/lead.lua",
        " and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2])",
        "",
        f"{_COMMANDS}::test_a_dead_sweepers_lead_passes_on",
    ),
    Mutant(
        "after a step back users are not listed",
        _PULL_IN,
        "pull_in(incident .. ':' .. mode, LONGEST,",
        "pull_in('', LONGEST,",
        f"{_INCIDENTS}::test_users_of_an_incident_are_listed",
    ),
    Mutant(
        "after a step back a user is listed by two workers",
        _PULL_IN,
        "return is_leased(incident .. working, username) and LONGEST or 0",
        "return 0",
        f"{_INCIDENTS}::test_a_user_in_a_dead_workers_hands_is_listed_after_its_lease",
    ),
    Mutant(
        "after a step back a pool is not listed on",
        _PULL_IN,
        "if (tonumber(waits[1]) or 0) > now + LONGEST then",
        "if false then",
        f"{_INCIDENTS}::test_a_pool_is_listed_on",
    ),
    Mutant(
        "after a step back an incident rests",
        _PULL_IN,
        "if (tonumber(waits[2]) or 0) > now + LONGEST then",
        "if false then",
        f"{_INCIDENTS}::test_an_incident_rests_no_longer_than_it_would_have",
    ),
    Mutant(
        "after a step back a verification stands still",
        _PULL_IN,
        ", verify = ':verifying'}",
        "}",
        f"{_INCIDENTS}::test_a_verification_goes_on",
    ),
    Mutant(
        "after a step back no notice is sent",
        _PULL_IN,
        "pull_in(PREFIX .. 'webhooks', LONGEST,",
        "pull_in('', LONGEST,",
        f"{_INCIDENTS}::test_a_notice_is_sent",
    ),
    Mutant(
        "after a step back dead letters stay longer",
        _PULL_IN,
        "pull_in(PREFIX .. 'dead:aging', 0)",
        "",
        f"{_RETENTION}::test_dead_letters_go_after_the_retention",
    ),
    Mutant(
        "after a step back incidents stay longer",
        _PULL_IN,
        " - now > retention and retention",
        " - now > retention and false",
        f"{_RETENTION}::test_an_incident_goes_after_the_retention",
    ),
    Mutant(
        "what is not amiss is pulled in",
        _PULL_IN,
        "'(' .. now + most",
        "now",
        f"{_BACK}::test_nothing_is_moved_if_nothing_is_amiss",
    ),
    Mutant(
        "no step is noticed",
        _NOTICED,
        "if last and (by := step_between(last, look)):",
        "if False:",
        _ONCE,
    ),
    Mutant(
        "every worker logs a step",
        f"{_LUA}/clock_step.lua",
        "  return 0\n",
        "",
        _ONCE,
    ),
    Mutant(
        "of several steps one is logged",
        f"{_LUA}/clock_step.lua",
        "if ago >= 0 and ago <= tonumber(ARGV[2]) then",
        "if redis.call('EXISTS', KEYS[1]) == 1 then",
        _ONCE,
    ),
    Mutant(
        "an answer that takes long is a step",
        _NOTICED,
        "least, most = look.asked - last.answered, look.answered - last.asked",
        "least = most = look.answered - last.answered",
        f"{_IS_NOTICED}::TestWhatIsNone::"
        "test_time_that_passes_however_long_an_answer_takes_or_the_process_is_stopped",
    ),
    Mutant(
        "a suspended host is a step",
        _NOTICED,
        "passed > most + tolerance and not went_along",
        "passed > most + tolerance",
        f"{_IS_NOTICED}::TestWhatIsNone::test_a_host_that_was_suspended_while_its_monotonic_clock_stood_still",
    ),
    Mutant(
        "drift is a step",
        _NOTICED,
        "tolerance = TOLERANCE + DRIFT * most",
        "tolerance = TOLERANCE",
        f"{_IS_NOTICED}::TestWhatIsNone::test_what_time_sync_corrects_little_by_little",
    ),
    Mutant(
        "doctor shows a step forever",
        "producers/device_status/health.py",
        "if ago > _RECENT:",
        "if False:",
        f"{_IS_NOTICED}::TestSteps::test_it_is_on_record_for_a_day",
    ),
)

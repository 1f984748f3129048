"""What is due, and what is lost, is published again; nothing else is."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_SWEEP: Final = f"{_LUA}/sweep.lua"
_WATERMARK: Final = f"{_LUA}/watermark.lua"
_MARK: Final = f"{_LUA}/mark.lua"
_LEAD: Final = f"{_LUA}/lead.lua"
_CLAIM: Final = f"{_LUA}/claim.lua"
_SHARED: Final = f"{_LUA}/prelude.lua"
_SWEEPER: Final = "worker/device_status_worker/sweeper.py"
_TESTS: Final = "tests/unit/worker/test_sweeper.py"
_DUE: Final = f"{_TESTS}::TestWhatIsDue"
_LOST: Final = f"{_TESTS}::TestLostMessages"
_MARKS: Final = "tests/unit/test_watermark.py"
_RETRY: Final = f"{_DUE}::test_a_retry_is_published_in_its_lane_when_it_is_due_and_once[bulk]"

MUTANTS: Final = (
    Mutant(
        "a retry is never due",
        _SHARED,
        "redis.call('ZADD', PREFIX .. 'open:' .. lane, due, key)",
        "",
        _RETRY,
    ),
    Mutant(
        "a retry is due at once",
        _SWEEP,
        "open, '-inf', now, 'BYSCORE'",
        "open, '-inf', '+inf', 'BYSCORE'",
        _RETRY,
    ),
    Mutant(
        "what is due is published again and again",
        _SHARED,
        "redis.call('ZREM', PREFIX .. 'open:' .. lane, key)",
        "",
        "tests/unit/worker/test_sweeper_promises.py::TestOnce::"
        "test_a_claim_whose_worker_died_is_published_once_and_not_in_every_round",
        after="local function queue_again",
    ),
    Mutant(
        "nobody looks after a claim whose worker died",
        _CLAIM,
        "redis.call('ZADD', PREFIX .. 'open:' .. redis.call('HGET', entry, 'lane'), now + lease, key)",
        "",
        f"{_DUE}::test_a_claim_is_published_when_its_lease_is_over",
    ),
    Mutant(
        "a lost message stays lost",
        _SWEEP,
        "if lost_before > 0 then",
        "if false then",
        f"{_LOST}::test_a_command_whose_message_is_lost_is_published_again",
    ),
    Mutant(
        "what is taken as due is not published",
        _SWEEPER,
        "self._publisher.publish(commands, lane)",
        "pass",
        _RETRY,
    ),
    Mutant(
        "no mark is published",
        _SWEEPER,
        "self._publisher.publish_mark(lane, mark)",
        "pass",
        f"{_LOST}::test_a_command_whose_message_is_lost_is_published_again",
    ),
    Mutant(
        "what may stand behind the mark counts as lost",
        _SWEEP,
        "'-inf', '(' .. lost_before, 'BYSCORE'",
        "'-inf', lost_before, 'BYSCORE'",
        f"{_MARKS}::TestABacklogIsNotTouched::"
        "test_what_was_queued_in_the_marks_own_millisecond_may_stand_behind_it",
    ),
    Mutant(
        "what was just received counts as lost",
        _WATERMARK,
        "if now < received_at + in_hand then",
        "if false then",
        f"{_MARKS}::TestABacklogIsNotTouched::test_what_was_received_is_left_in_hand_for_a_while",
    ),
    Mutant(
        "a mark that did not come is never sent again",
        _WATERMARK,
        "elseif mark and now < published_at + again then",
        "elseif mark then",
        f"{_LOST}::test_a_mark_that_is_lost_itself_is_published_again",
    ),
    Mutant(
        "a mark that is sent again forgets its time",
        _WATERMARK,
        "mark = (not received_at and mark) or now",
        "mark = now",
        f"{_MARKS}::TestWhenAMarkIsPublished::"
        "test_one_that_does_not_come_is_published_again_with_its_old_time",
    ),
    Mutant(
        "any mark says that a lane was read",
        _MARK,
        "if redis.call('HGET', KEYS[1], 'mark') == ARGV[1] then",
        "if true then",
        f"{_MARKS}::TestABacklogIsNotTouched::test_a_mark_that_is_not_the_current_one_says_nothing",
    ),
    Mutant(
        "all processes sweep at once",
        _LEAD,
        "if leader and leader ~= ARGV[1] and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then",
        "if false then",
        f"{_TESTS}::TestOneAtATime::test_another_sweeper_rests_until_the_first_is_gone",
    ),
    Mutant(
        "the lead never passes on",
        _LEAD,
        "'PX', ARGV[2]",
        "'PX', 86400000",
        f"{_TESTS}::TestOneAtATime::test_another_sweeper_rests_until_the_first_is_gone",
    ),
)

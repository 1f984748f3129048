"""A verification says what was found, and nothing of what was not listed."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_PAGE: Final = f"{_LUA}/verify_page.lua"
_START: Final = f"{_LUA}/verify_start.lua"
_USERS: Final = f"{_LUA}/verify_users.lua"
_SETTLE: Final = f"{_LUA}/listing_settle.lua"
_SHARED: Final = f"{_LUA}/prelude_incident.lua"
_VERDICT: Final = "producers/device_status/verification.py"
_TESTS: Final = "tests/unit/worker/test_incidents.py::TestVerification"
_PROMISES: Final = "tests/unit/worker/test_verification_promises.py"

MUTANTS: Final = (
    Mutant(
        "any status is as ordered",
        _PAGE,
        "local as_ordered = listed == ordered",
        "local as_ordered = true",
        f"{_TESTS}::test_what_changed_since_is_found",
    ),
    Mutant(
        "a device that is listed twice counts twice",
        _PAGE,
        "if redis.call('HGET', entry, 'verified_run') ~= run then",
        "if true then",
        f"{_TESTS}::test_a_page_that_is_listed_twice_counts_once",
    ),
    Mutant(
        "a new device that is listed twice counts twice",
        _PAGE,
        "redis.call('SADD', incident .. ':new', device_key) == 1",
        "redis.call('SADD', incident .. ':new', device_key)",
        f"{_PROMISES}::TestWhatItCounts::test_new_devices_of_a_page_that_is_listed_twice_count_once",
    ),
    Mutant(
        "devices that the incident is not about are new",
        _PAGE,
        "elseif only_known ~= '1' and ",
        "elseif ",
        f"{_TESTS}::test_devices_that_were_not_given_do_not_count",
    ),
    Mutant(
        "a page of an earlier verification counts",
        _PAGE,
        "if redis.call('HGET', verification, 'run') ~= run then",
        "if false then",
        f"{_PROMISES}::TestWhatItCounts::test_a_page_of_an_earlier_verification_says_nothing_of_this_one",
    ),
    Mutant(
        "an incident that is under way is verified",
        _START,
        "elseif not known[2] then",
        "elseif false then",
        f"{_TESTS}::test_before_the_end_there_is_nothing_to_verify",
    ),
    Mutant(
        "a verification keeps what an earlier one found",
        _START,
        "forget_verification(ARGV[1])",
        "",
        f"{_PROMISES}::TestWhatItCounts::test_a_second_one_finds_the_same_again_and_says_it_once",
    ),
    Mutant(
        "a verification ends without its users",
        _USERS,
        "redis.call('HINCRBY', verification, 'users_open', 1)",
        "",
        f"{_PROMISES}::TestWhatItCounts::test_it_ends_only_when_every_user_is_listed",
    ),
    Mutant(
        "a user who was never listed is verified",
        _SETTLE,
        "is_known and 'verified' or 'failed'",
        "'verified'",
        f"{_TESTS}::test_a_user_whom_the_pool_never_knew_is_not_verified",
    ),
    Mutant(
        "devices of a user who can't be listed are gone",
        _SETTLE,
        "math.max(0, (before.devices or 0) - (lease_now.seen or 0))",
        "0",
        f"{_TESTS}::test_a_user_who_can_not_be_listed_is_not_verified",
    ),
    Mutant(
        "what was seen of a user who can't be listed is forgotten",
        _SETTLE,
        "(before.devices or 0) - (lease_now.seen or 0)",
        "(before.devices or 0)",
        "tests/unit/worker/test_verification_promises.py::TestWhatItCounts::"
        "test_what_a_verification_saw_before_a_listing_failed_is_neither_gone_nor_unseen",
    ),
    Mutant(
        "a verification outlives what it verified",
        _SHARED,
        "forget_verification(id)",
        "",
        f"{_TESTS}::test_it_says_nothing_any_more_once_the_incident_goes_on",
        after="local function keep_open",
    ),
    Mutant(
        "users who could not be listed do not matter",
        _VERDICT,
        "self.users_failed == self.not_as_ordered",
        "0 == self.not_as_ordered",
        f"{_PROMISES}::TestTheVerdict::test_one_that_is_not_is_enough[users_failed]",
    ),
    Mutant(
        "a verification of nobody shows something",
        _VERDICT,
        "and self.users > 0",
        "",
        f"{_PROMISES}::TestTheVerdict::test_nobody_listed_shows_nothing",
    ),
)

"""Listings: every user's every device, by one worker at a time, or a dead letter."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_LUA: Final = "producers/device_status/lua"
_CLAIM: Final = f"{_LUA}/listing_claim.lua"
_SETTLE: Final = f"{_LUA}/listing_settle.lua"
_PAGE: Final = f"{_LUA}/pool_page.lua"
_WORKER: Final = "worker/device_status_worker"
_DEVICES: Final = f"{_WORKER}/listing_devices.py"
_USERS: Final = f"{_WORKER}/listing_users.py"
_REQUESTS: Final = f"{_WORKER}/listing_requests.py"
_TESTS: Final = "tests/unit/worker/test_incidents.py"
_EVERY: Final = f"{_TESTS}::TestEveryDevice"
_FAILURES: Final = f"{_TESTS}::TestFailures"
_WHO: Final = "tests/unit/worker/test_listing_promises.py"
_POOL: Final = "tests/unit/worker/test_pool_listing.py::TestAWholePool"

MUTANTS: Final = (
    Mutant(
        "two workers list one user",
        _CLAIM,
        "redis.call('ZADD', waiting, now + lease, username)",
        "",
        f"{_FAILURES}::test_a_lister_that_died_is_replaced_when_its_lease_is_over",
    ),
    Mutant(
        "a listing that kills its workers is never given up",
        _CLAIM,
        "lease_now.attempts = lease_now.attempts + 1",
        "",
        f"{_FAILURES}::test_a_listing_that_kills_its_workers_is_given_up[False]",
    ),
    Mutant(
        "a paused incident is listed",
        _CLAIM,
        "if not known[1] or known[1] == 'paused' then",
        "if not known[1] then",
        f"{_TESTS}::TestSteering::test_paused_it_begins_nothing_more",
    ),
    Mutant(
        "a paused Region holds up the incidents of others",
        _CLAIM,
        "(tonumber(known[12]) or 0) <= now",
        "true",
        f"{_FAILURES}::test_a_paused_region_does_not_hold_up_the_incidents_of_others",
    ),
    Mutant(
        "a lister that comes back too late decides",
        _SETTLE,
        "lease_now.owner ~= owner",
        "false",
        f"{_WHO}::TestWhoDecides::test_a_lister_whose_lease_is_over_decides_nothing_while_another_lists",
    ),
    Mutant(
        "a throttled listing uses up an attempt",
        _SETTLE,
        "lease_now.attempts + attempt",
        "lease_now.attempts + 1",
        f"{_FAILURES}::test_a_throttle_is_no_attempt",
    ),
    Mutant(
        "a listing that fails is tried forever",
        _SETTLE,
        "lease_now.attempts + attempt",
        "lease_now.attempts",
        f"{_FAILURES}::test_a_listing_that_fails_is_tried_again_up_to_the_limit",
    ),
    Mutant(
        "a user who can't be listed leaves no dead letter",
        _SETTLE,
        "elseif what == 'dead_lettered' then",
        "elseif false then",
        f"{_FAILURES}::test_an_unknown_user_is_a_dead_letter_that_can_be_listed_again",
    ),
    Mutant(
        "only the first page of a user's devices is read",
        _DEVICES,
        "if not token:",
        "if True:",
        f"{_EVERY}::test_every_device_of_every_user_is_changed_once",
    ),
    Mutant(
        "a plan changes devices",
        _DEVICES,
        "elif not listing.counts_only:",
        "else:",
        f"{_WHO}::TestPlans::test_counting_devices_orders_nothing_in_any_lane",
    ),
    Mutant(
        "a listing whose workers died is sent again",
        _REQUESTS,
        "if tried.attempts >= settings.max_attempts:",
        "if False:",
        f"{_FAILURES}::test_a_listing_that_kills_its_workers_is_given_up[False]",
    ),
    Mutant(
        "the last attempt of a listing is not the last",
        _REQUESTS,
        "if is_last_attempt(tried, settings):",
        "if False:",
        f"{_FAILURES}::test_a_listing_that_fails_is_tried_again_up_to_the_limit",
    ),
    Mutant(
        "only the first page of a pool's users is read",
        _PAGE,
        "(what == 'page' and token == '')",
        "what == 'page'",
        f"{_EVERY}::test_all_users_of_a_pool_are_read_page_by_page",
    ),
    Mutant(
        "a pool whose next page is refused is begun again forever",
        _PAGE,
        "redis.call('HINCRBY', incident, 'all_users_restarts', 1) > 5",
        "false",
        f"{_POOL}::test_a_token_that_is_refused_six_times_ends_the_input_with_the_reason",
    ),
    Mutant(
        "a pool that can't be read has no reason",
        _USERS,
        '_settle(page, worker, "restart", error_code=code)',
        '_settle(page, worker, "restart")',
        f"{_POOL}::test_a_token_that_is_refused_six_times_ends_the_input_with_the_reason",
    ),
    Mutant(
        "a page of users that fails is read forever",
        _PAGE,
        "lease_now.attempts + attempt",
        "lease_now.attempts",
        f"{_POOL}::test_a_page_that_fails_is_read_again_up_to_the_limit",
    ),
    Mutant(
        "a throttled page of users uses up an attempt",
        _PAGE,
        "lease_now.attempts + attempt",
        "lease_now.attempts + 1",
        f"{_POOL}::test_a_throttled_page_is_no_attempt",
    ),
)

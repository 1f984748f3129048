"""Listings that Cognito never ends, and those that are to stop between two pages."""

from __future__ import annotations

from typing import Final

from mutants.mutant import Mutant

_WORKER: Final = "worker/device_status_worker"
_HEADWAY: Final = f"{_WORKER}/listing_headway.py"
_DEVICES: Final = f"{_WORKER}/listing_devices.py"
_PAGE: Final = "producers/device_status/lua/pool_page.lua"
_TESTS: Final = "tests/unit/worker/test_endless_listings.py"
_OF_DEVICES: Final = f"{_TESTS}::TestDevices"
_DEAD_LETTER: Final = f"{_OF_DEVICES}::test_a_listing_that_does_not_end_is_a_dead_letter"
_OF_USERS: Final = f"{_TESTS}::TestUsersOfAPool"
_INPUT_ERROR: Final = f"{_OF_USERS}::test_a_listing_that_does_not_end_is_an_error_of_the_input"
_STOPPING: Final = f"{_TESTS}::TestStopping"
_STOPS: Final = 'case "paused" | "cancelled" if not listing.is_verification:'

MUTANTS: Final = (
    Mutant(
        "a token that comes again is asked for again",
        _HEADWAY,
        "if page.token in self._tokens:",
        "if False:",
        f"{_DEAD_LETTER}[a circle of two-3]",
    ),
    Mutant(
        "pages that bring nothing new are read forever",
        _HEADWAY,
        "if self._pages_without_news == MAX_PAGES_WITHOUT_NEWS:",
        "if False:",
        f"{_DEAD_LETTER}[new tokens, empty-11]",
    ),
    Mutant(
        "a listing is given up after ten pages, new devices or not",
        _HEADWAY,
        "0 if len(self.devices) > before else self._pages_without_news + 1",
        "self._pages_without_news + 1",
        f"{_DEAD_LETTER}[new tokens, repeated-12]",
    ),
    Mutant(
        "a listing that does not end is taken for a whole one",
        _DEVICES,
        "_give_up(listing, GivenUp(ENDLESS, why, page.request_id), headway, worker)",
        '_settle(listing, worker, "expanded", devices=len(headway.devices))',
        f"{_DEAD_LETTER}[the same token-2]",
    ),
    Mutant(
        "a verification lists forever",
        _DEVICES,
        "if why := headway.stops_at(page):",
        "if (why := headway.stops_at(page)) and not listing.is_verification:",
        f"{_OF_DEVICES}::test_a_verification_says_that_the_user_could_not_be_listed",
    ),
    Mutant(
        "a circle of a pool's pages is read forever",
        _PAGE,
        "if digest == known[1] then",
        "if false then",
        f"{_INPUT_ERROR}[False-a circle of two-3]",
    ),
    Mutant(
        "only a circle of one page of a pool's users is noticed",
        _PAGE,
        "'power', 2 * power)",
        "'power', power)",
        f"{_INPUT_ERROR}[False-a circle of two-3]",
    ),
    Mutant(
        "empty pages of a pool's users are read forever",
        _PAGE,
        "empty == 10 and count == 0 or ",
        "",
        f"{_INPUT_ERROR}[False-new tokens, empty-11]",
    ),
    Mutant(
        "the users of a pool are listed again and again",
        _PAGE,
        "seen > redis.call('HGET', incident, 'users') + 600",
        "false",
        f"{_INPUT_ERROR}[False-new tokens, repeated-12]",
    ),
    Mutant(
        "a pool that is begun again is taken for a circle",
        _PAGE,
        "if what ~= 'page' or token == '' or endless then redis.call('DEL', incident .. ':pass') end",
        "",
        f"{_OF_USERS}::test_to_begin_again_after_a_token_that_is_too_old_is_no_circle",
    ),
    Mutant(
        "a cancelled incident asks for the next page",
        _DEVICES,
        _STOPS,
        'case "paused" if not listing.is_verification:',
        f"{_STOPPING}::test_cancelled_between_two_pages_it_asks_for_no_further_one",
    ),
    Mutant(
        "a paused incident asks for the next page",
        _DEVICES,
        _STOPS,
        'case "cancelled" if not listing.is_verification:',
        f"{_STOPPING}::test_paused_between_two_pages_it_is_handed_back",
    ),
    Mutant(
        "the verification of a cancelled incident stops between two pages",
        _DEVICES,
        'case "lost":',
        'case "lost" | "cancelled":',
        f"{_STOPPING}::test_a_verification_of_a_cancelled_incident_goes_on",
    ),
)

"""Promises about listings that Cognito never ends, and about those that are to stop in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from device_status import DeadLetters, Incidents, Settings, load_settings
from device_status.incident import Phase
from device_status.incident_records import records
from device_status.ledger import own_ms
from device_status.targets import Target
from device_status_worker.cognito import Cognito, NotSent, Page
from device_status_worker.failures import Failure
from device_status_worker.gate import Slot
from device_status_worker.handle import Worker
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.wire import json_response
from support.clock import let_time_pass
from support.incidents import Crew, counters, make_users, open_incident, recount, statuses

MANY = 60
"""Requests after which no listing of these tests may still go on."""


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(
        broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000, list_users_quota=5000
    )


def asked(cognito: LocalCognito, operation: str) -> int:
    return sum(request.operation == operation for request in cognito.requests)


Answers = Callable[[int], tuple[list[dict[str, Any]], str]]
"""What the request with this number is answered: items, and the token for the next page."""


def answer_with(cognito: LocalCognito, operation: str, answers: Answers) -> None:
    """Let Cognito answer so; the local one stands in for a service that has gone wrong."""
    name = "Devices" if operation == "AdminListDevices" else "Users"
    for number in range(MANY):
        items, token = answers(number)
        more = {"PaginationToken": token} if token else {}
        answer = json_response({name: items, **more})
        cognito.faults.add(Fault("wrong", answer), operation=operation, times=1)


def tokens(kind: str) -> Callable[[int], str]:
    circles = {"the same token": 1, "a circle of two": 2, "a circle of seven": 7}
    return lambda number: f"token-{number % circles[kind]}" if kind in circles else f"token-{number}"


class TestDevices:
    @pytest.mark.parametrize(
        ("kind", "requests"),
        [
            ("the same token", 2),
            ("a circle of two", 3),
            ("a circle of seven", 8),
            ("new tokens, empty", 11),
            ("new tokens, repeated", 12),
        ],
    )
    def test_a_listing_that_does_not_end_is_a_dead_letter(
        self,
        kind: str,
        requests: int,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        settings: Settings,
    ) -> None:
        pool = make_users(cognito, {"ada": 2, "grace": 1})
        keys = [key for username, key, _ in cognito.devices(pool) if username == "ada"]
        token = tokens(kind)

        def answers(number: int) -> tuple[list[dict[str, Any]], str]:
            empty = kind == "new tokens, empty" and number > 0
            return [] if empty else [{"DeviceKey": keys[number % 2]}], token(number)

        answer_with(cognito, "AdminListDevices", answers)
        open_incident(incidents, pool, "ada")
        crew.finish()
        assert asked(cognito, "AdminListDevices") == requests
        progress = incidents.progress("INC-1")
        assert (progress.is_over, progress.all_succeeded, progress.users_dead_lettered) == (True, False, 1)
        assert counters(progress) == recount(crew.worker.ledger, "INC-1")
        (letter,) = DeadLetters(settings).list()
        assert (letter.error_code, letter.username) == ("EndlessListing", "ada")
        # What was listed is changed all the same, and the rest when the listing works again.
        assert progress.succeeded == progress.devices > 0
        (user,) = [each for each in records(incidents, "INC-1") if each["record"] == "user"]
        assert user["devices"] == progress.devices
        cognito.faults.clear()
        DeadLetters(settings).redrive(letter.id)
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded
        assert statuses(cognito, pool) == {"not_remembered": 2, "remembered": 1}

    def test_a_verification_says_that_the_user_could_not_be_listed(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        open_incident(incidents, pool, "ada")
        crew.finish()
        answer_with(cognito, "AdminListDevices", lambda _: ([], "again"))
        incidents.verify("INC-1")
        crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert (found.users_failed, found.gone, found.is_as_ordered) == (1, 0, False)
        (finding,) = [each for each in records(incidents, "INC-1") if each["record"] == "finding"]
        assert finding["error_code"] == "EndlessListing"

    def test_a_plan_is_not_taken_for_whole(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 2})
        answer_with(cognito, "AdminListDevices", lambda _: ([], "again"))
        plan_id = incidents.count(user_pool_id=pool, users=["ada"])
        crew.finish()
        plan = incidents.progress(plan_id)
        assert (plan.is_over, plan.users_dead_lettered) == (True, 1)

    def test_some_empty_pages_are_no_fault(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        ((_, key, _),) = cognito.devices(pool)

        def answers(number: int) -> tuple[list[dict[str, Any]], str]:
            return [{"DeviceKey": key}] if number == 9 else [], "" if number == 9 else f"token-{number}"

        answer_with(cognito, "AdminListDevices", answers)
        open_incident(incidents, pool, "ada")
        crew.finish()
        assert asked(cognito, "AdminListDevices") == 10
        assert incidents.progress("INC-1").all_succeeded


class TestUsersOfAPool:
    @pytest.mark.parametrize(
        ("kind", "requests"),
        [
            ("the same token", 2),
            ("a circle of two", 3),
            ("a circle of seven", 12),
            ("new tokens, empty", 11),
            ("new tokens, repeated", 12),
        ],
    )
    @pytest.mark.parametrize("opened_before", [False, True])
    def test_a_listing_that_does_not_end_is_an_error_of_the_input(
        self,
        kind: str,
        requests: int,
        opened_before: bool,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
    ) -> None:
        pool = make_users(cognito, {f"user-{number}": 1 for number in range(70)})
        if opened_before:
            open_incident(incidents, pool, *(f"user-{number}" for number in range(70)))
            crew.finish()
        before = asked(cognito, "ListUsers")
        token = tokens(kind)

        def answers(number: int) -> tuple[list[dict[str, Any]], str]:
            empty = kind == "new tokens, empty" and number > 0
            names = [] if empty else [f"user-{(number * 30 + each) % 70}" for each in range(60)]
            return [{"Username": name} for name in names], token(number)

        answer_with(cognito, "ListUsers", answers)
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.finish()
        assert asked(cognito, "ListUsers") - before == requests
        progress = incidents.progress("INC-1")
        assert (progress.is_over, progress.all_succeeded) == (True, False)
        assert progress.input_error == "EndlessListing"
        assert (progress.users, progress.succeeded) == (progress.devices, progress.devices)
        # Opened again, it is listed again from the first page.
        cognito.faults.clear()
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.users, progress.all_succeeded, progress.input_error) == (70, True, None)

    def test_it_is_known_across_workers_that_die_and_attempts_that_fail(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        answer_with(cognito, "ListUsers", lambda number: ([{"Username": "ada"}], f"token-{number % 2}"))
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        for _ in range(MANY):
            crew.list(most=1)
            if incidents.progress("INC-1").input_error:
                break
            crew.worker.ledger.scripts.run("listing_claim", [], "dies", 60_000, own_ms())
            let_time_pass(crew.worker.ledger.redis, 61)
        assert incidents.progress("INC-1").input_error == "EndlessListing"
        assert asked(cognito, "ListUsers") <= 6

    def test_to_begin_again_after_a_token_that_is_too_old_is_no_circle(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {f"user-{number}": 0 for number in range(200)})
        for nth in (3, 6):
            cognito.faults.add(Fault.error("InvalidParameterException"), operation="ListUsers", nth=nth)
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.users, progress.input_error, progress.is_over) == (200, None, True)


class Steering(Cognito):
    """Calls Cognito as a worker does; before the request for a user's second page something else happens."""

    def __init__(self, calls: Cognito, meanwhile: Callable[[], object]) -> None:
        self._calls = calls
        self._meanwhile = meanwhile
        self._is_before = True

    def list_devices(
        self, target: Target, user_pool_id: str, username: str, token: str, ends_at: float, slot: Slot
    ) -> Page | Failure | NotSent:
        if token and self._is_before:
            # Once: a request that was late for its slot is made again.
            self._is_before = False
            self._meanwhile()
        return self._calls.list_devices(target, user_pool_id, username, token, ends_at, slot)


class TestStopping:
    @pytest.fixture
    def steered(self, worker: Worker, settings: Settings) -> Callable[[Callable[[], object]], Crew]:
        def steered(meanwhile: Callable[[], object]) -> Crew:
            calls = Steering(worker.cognito, meanwhile)
            changed = Worker(worker.settings, worker.ledger, worker.gates, calls, worker.publisher)
            return Crew(changed, settings.broker_url)

        return steered

    def test_cancelled_between_two_pages_it_asks_for_no_further_one(
        self,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        steered: Callable[[Callable[[], object]], Crew],
    ) -> None:
        pool = make_users(cognito, {"ada": 250})
        open_incident(incidents, pool, "ada")
        steered(lambda: incidents.cancel("INC-1")).list()
        assert asked(cognito, "AdminListDevices") == 2
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.phase, progress.users_cancelled, progress.users_open) == (Phase.CANCELLED, 1, 0)
        assert progress.devices == progress.cancelled == 120
        assert statuses(cognito, pool) == {"remembered": 250}

    def test_paused_between_two_pages_it_is_handed_back(
        self,
        incidents: Incidents,
        crew: Crew,
        cognito: LocalCognito,
        steered: Callable[[Callable[[], object]], Crew],
    ) -> None:
        pool = make_users(cognito, {"ada": 250})
        open_incident(incidents, pool, "ada")
        steered(lambda: incidents.pause("INC-1")).list()
        assert asked(cognito, "AdminListDevices") == 2
        assert crew.list() == 0
        incidents.resume("INC-1")
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.devices, progress.succeeded, progress.all_succeeded) == (250, 250, True)

    def test_a_verification_of_a_cancelled_incident_goes_on(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 130})
        open_incident(incidents, pool, "ada")
        crew.list()
        incidents.cancel("INC-1")
        crew.finish()
        incidents.verify("INC-1")
        crew.finish()
        found = incidents.progress("INC-1").verification
        assert found is not None
        assert (found.not_as_ordered, found.users_failed, found.ended_at is not None) == (130, 0, True)

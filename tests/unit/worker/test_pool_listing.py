"""Promises about incidents for all users of a pool: every page, or the reason why not."""

from __future__ import annotations

import pytest

from device_status import Incidents, Settings, load_settings
from device_status_worker.local import Fault, LocalCognito
from support.clock import let_time_pass
from support.incidents import Crew, make_users

USERS = 61
"""One more than a page holds."""


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(
        broker_url=redis_url, max_attempts=3, update_quota=5000, read_quota=5000, list_users_quota=5000
    )


@pytest.fixture
def pool(cognito: LocalCognito) -> str:
    return make_users(cognito, {f"user-{number}": 0 for number in range(USERS)})


def pages(cognito: LocalCognito) -> int:
    return sum(request.operation == "ListUsers" for request in cognito.requests)


def refuse_second_pages(cognito: LocalCognito, times: int) -> None:
    """As Cognito does when a token is no longer good: of requests for first and second pages in turn."""
    for number in range(times):
        # A rule does not count the requests that those before it have decided.
        cognito.faults.add(Fault.error("InvalidParameterException"), operation="ListUsers", nth=2 + number)


class TestAWholePool:
    def test_a_refused_token_begins_the_pool_again_and_lists_nobody_twice(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pool: str
    ) -> None:
        refuse_second_pages(cognito, times=5)
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert pages(cognito) == 12
        assert (progress.input_error, progress.users, progress.users_no_devices) == (None, USERS, USERS)
        assert progress.all_succeeded

    def test_a_token_that_is_refused_six_times_ends_the_input_with_the_reason(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pool: str
    ) -> None:
        refuse_second_pages(cognito, times=50)
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        crew.list(most=100 + USERS)
        progress = incidents.progress("INC-1")
        assert pages(cognito) == 12
        assert progress.input_error == "InvalidParameterException"
        assert (progress.is_over, progress.all_succeeded) == (True, False)

    def test_a_page_that_fails_is_read_again_up_to_the_limit(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pool: str
    ) -> None:
        cognito.faults.add(Fault.error("InternalErrorException", http_status=500), operation="ListUsers")
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        for number in range(1, 4):
            assert crew.list() == 1
            assert pages(cognito) == number
            let_time_pass(crew.worker.ledger.redis, 120)
        progress = incidents.progress("INC-1")
        assert progress.input_error == "RetriesExhausted"
        assert (progress.is_over, progress.all_succeeded) == (True, False)

    def test_a_throttled_page_is_no_attempt(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito, pool: str
    ) -> None:
        cognito.faults.add(Fault.error("TooManyRequestsException"), operation="ListUsers", times=5)
        incidents.open("INC-1", user_pool_id=pool, all_users=True)
        for _ in range(5):
            assert crew.list() == 1
            let_time_pass(crew.worker.ledger.redis, 10)
        crew.finish()
        progress = incidents.progress("INC-1")
        assert (progress.input_error, progress.users) == (None, USERS)

"""Promises about who may say what became of a listing."""

from __future__ import annotations

import pytest

from device_status import Incidents, Lane, Settings, load_settings
from device_status.ledger import own_ms
from device_status_worker.local import LocalCognito
from support.clock import let_time_pass
from support.incidents import Crew, counters, make_users, open_incident, statuses

LEASE = 60
"""Seconds."""


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load_settings(broker_url=redis_url, update_quota=5000, read_quota=5000)


class TestPlans:
    def test_counting_devices_orders_nothing_in_any_lane(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 3})
        plan_id = incidents.count(user_pool_id=pool, users=["ada"])
        crew.list()
        assert incidents.progress(plan_id).devices == 3
        assert crew.worker.ledger.open_count() == {Lane.URGENT: 0, Lane.ROUTINE: 0, Lane.BULK: 0}
        assert [crew.apply(lane=lane) for lane in Lane] == [0, 0, 0]
        assert statuses(cognito, pool) == {"remembered": 3}


class TestWhoDecides:
    def test_a_lister_whose_lease_is_over_decides_nothing_while_another_lists(
        self, incidents: Incidents, crew: Crew, cognito: LocalCognito
    ) -> None:
        pool = make_users(cognito, {"ada": 1})
        open_incident(incidents, pool, "ada")
        script = crew.worker.ledger.scripts.run
        for owner in ("late", "present"):
            assert script("listing_claim", [], owner, 1000 * LEASE, own_ms())[3] == "ada"
            let_time_pass(crew.worker.ledger.redis, LEASE + 1)
        before = counters(incidents.progress("INC-1"))
        said = [0, 1, 0, "UserNotFoundException", "", "", 1000 * LEASE]
        assert script("listing_settle", [], "users", "INC-1", "ada", "late", "dead_lettered", *said) == "lost"
        assert counters(incidents.progress("INC-1")) == before
        crew.finish()
        assert incidents.progress("INC-1").all_succeeded

"""Promises of the sweeper about what it has published once."""

from __future__ import annotations

from threading import Event

import pytest

from device_status import Lane, Settings
from device_status.ledger import Ledger
from device_status.outcomes import Claimed
from device_status.publisher import Publisher
from device_status_worker.sweeper import Sweeper
from support import make_command
from support.broker import take_commands
from support.clock import let_time_pass


@pytest.fixture
def sweeper(ledger: Ledger, settings: Settings) -> Sweeper:
    return Sweeper(ledger, Publisher(settings.broker_url), Event())


class TestOnce:
    def test_a_claim_whose_worker_died_is_published_once_and_not_in_every_round(
        self, sweeper: Sweeper, ledger: Ledger, settings: Settings
    ) -> None:
        assert isinstance(ledger.claim(make_command(), Lane.BULK), Claimed)
        let_time_pass(ledger.redis, 61)
        assert [sweeper.round() for _ in range(4)] == [1, 0, 0, 0]
        assert len(take_commands(settings.broker_url, Lane.BULK)) == 1

    def test_so_is_a_retry(self, sweeper: Sweeper, ledger: Ledger, settings: Settings) -> None:
        claim = ledger.claim(make_command(), Lane.BULK)
        assert isinstance(claim, Claimed)
        ledger.retry(claim, 10, "InternalErrorException", "why", attempt=True)
        let_time_pass(ledger.redis, 11)
        assert [sweeper.round() for _ in range(4)] == [1, 0, 0, 0]
        assert len(take_commands(settings.broker_url, Lane.BULK)) == 1

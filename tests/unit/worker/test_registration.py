"""Promises of a worker's registration: it warns once, lasts as long as the worker, and never ends it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from device_status import Lane, load_settings
from device_status.ledger import Ledger
from device_status.registry import WorkerEntry, deregister, entry_of, register, running
from device_status_worker import registration
from device_status_worker.registration import Registration
from support.servers import SilentServer
from support.waiting import eventually

WORKERS = "device-status:workers"


def entry(host: str = "celery@here", **settings: Any) -> WorkerEntry:
    return entry_of(load_settings(broker_url="redis://h", **settings), host, list(Lane))


@pytest.fixture
def stop() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


@pytest.fixture
def here(ledger: Ledger, stop: Event) -> Registration:
    return Registration(ledger, stop)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


class TestWarnings:
    def test_of_the_same_settings_there_is_none(
        self, here: Registration, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        register(ledger, "there", entry("celery@there"))
        here.renew(entry())
        assert warnings(caplog) == []

    def test_other_quotas_are_told_once(
        self, here: Registration, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        register(ledger, "there", entry("celery@there", update_quota=200))
        here.renew(entry())
        (warning,) = warnings(caplog)
        assert "quotas for update of default: 25 on celery@here; 200 on celery@there; the lowest" in warning
        for _ in range(3):
            here.renew(entry())
        register(ledger, "third", entry("celery@third", update_quota=200))
        here.renew(entry())
        assert warnings(caplog) == []

    def test_and_again_when_they_change_or_come_back(
        self, here: Registration, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        def renewed_beside(quota: int) -> int:
            register(ledger, "there", entry("celery@there", update_quota=quota))
            here.renew(entry())
            return len(warnings(caplog))

        assert [renewed_beside(quota) for quota in (200, 200, 100, 25, 25, 100)] == [1, 0, 1, 0, 0, 1]

    def test_one_that_has_ended_is_no_longer_different(
        self, here: Registration, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        register(ledger, "there", entry("celery@there", update_quota=200))
        deregister(ledger, "there")
        here.renew(entry())
        assert warnings(caplog) == []


class TestTheThread:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registration, "RENEW_EVERY", 0.05)

    def test_the_entry_is_there_from_the_start_to_the_end(
        self, here: Registration, ledger: Ledger, stop: Event
    ) -> None:
        here.start(said := entry())
        eventually(lambda: running(ledger) == [said], "it is there")
        stop.set()
        here.join()
        assert running(ledger) == []

    def test_what_was_lost_comes_again(self, here: Registration, ledger: Ledger) -> None:
        here.start(entry())
        eventually(lambda: running(ledger), "it is there")
        ledger.redis.flushdb()
        eventually(lambda: running(ledger), "it is there again")

    def test_data_that_it_does_not_expect_are_told_once_and_it_goes_on(
        self, here: Registration, ledger: Ledger, caplog: pytest.LogCaptureFixture
    ) -> None:
        ledger.redis.set(WORKERS, "x")
        here.start(entry())
        before = ledger.redis.info("commandstats")["cmdstat_hset"]["calls"]
        eventually(
            lambda: ledger.redis.info("commandstats")["cmdstat_hset"]["calls"] > before + 3, "it tries again"
        )
        ledger.redis.delete(WORKERS)
        eventually(lambda: running(ledger), "it goes on")
        assert len([record for record in caplog.records if "and goes on" in record.getMessage()]) == 1

    def test_a_ledger_that_hangs_does_not_delay_the_end(self, stop: Event) -> None:
        with SilentServer() as server:
            there = Registration(Ledger(server.url), stop)
            there.start(entry())
            assert server.called.wait(10)
            stop.set()
            began_at = time.monotonic()
            there.join()
            # The ledger's own limits take 8 s and more.
            assert time.monotonic() - began_at < 4

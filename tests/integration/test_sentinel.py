"""Redis behind Sentinel, as broker and as ledger: found through it, and found again after a failover."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from device_status import LedgerUnavailableError, Producer, State, load_settings
from device_status.ledger import Ledger
from device_status.publisher import BrokerUnavailableError, Publisher
from device_status_worker.local import LocalCognito
from support.commands import wire_object
from support.replication import enqueue_through, lost, wait_until_primary
from support.sentinels import Sentinels
from support.tls import BAD, good
from support.waiting import eventually
from support.workers import WorkerProcess


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.timeout(180)
def test_producer_worker_and_ledger_follow_a_failover(tmp_path: Path, stack: ExitStack) -> None:
    sentinels = Sentinels(tmp_path, stack)
    assert_a_failover_is_followed(sentinels, sentinels.url, tmp_path)


@pytest.mark.timeout(180)
def test_over_tls_they_follow_it_too(
    tmp_path: Path, stack: ExitStack, authority: trustme.CA, ca: Path
) -> None:
    sentinels = Sentinels(tmp_path, stack, show=good(authority))
    assert_a_failover_is_followed(sentinels, sentinels.tls_url(ca), tmp_path)
    assert b"SENTINEL" in sentinels.front.decrypted
    assert sentinels.front.in_clear == b""
    for front in sentinels.fronts:
        assert b"EVALSHA" in front.decrypted
        assert b"EVALSHA" not in front.in_clear
        assert b"BRPOP" in front.decrypted


@pytest.mark.timeout(180)
def test_what_a_replica_confirmed_survives_a_failover(tmp_path: Path, stack: ExitStack) -> None:
    sentinels = Sentinels(tmp_path, stack)
    producer = Producer(load_settings(broker_url=sentinels.url, durability="replica"))
    commands = [wire_object(command_id=f"command-{number}") for number in range(200)]

    def fail_over() -> None:
        old, new = sentinels.servers
        old.kill()
        wait_until_primary(new)
        # Not sooner: it comes back empty, and would take its replica's data away.
        old.start()

    answers = enqueue_through(fail_over, producer, commands)
    assert len(answers.accepted) == len(commands)
    assert lost(producer, commands) == []


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Sentinels]:
    """Over TLS, for tests that kill none of them."""
    with ExitStack() as stack:
        yield Sentinels(tmp_path_factory.mktemp("sentinel"), stack, show=good(authority))


@pytest.mark.parametrize("certificate", BAD)
class TestACertificate:
    """Of an impostor: nothing is sent to it."""

    def test_of_a_sentinel(
        self, certificate: str, sentinels: Sentinels, authority: trustme.CA, ca: Path
    ) -> None:
        sentinels.front.show(BAD[certificate](authority))
        assert_nothing_is_sent(sentinels.tls_url(ca))
        sentinels.front.wait_for_refusal()
        assert sentinels.front.received == b""

    def test_of_a_primary(
        self, certificate: str, sentinels: Sentinels, authority: trustme.CA, ca: Path
    ) -> None:
        primary = sentinels.fronts[0]
        sentinels.front.show(good(authority))
        primary.show(BAD[certificate](authority))
        assert_nothing_is_sent(sentinels.tls_url(ca))
        primary.wait_for_refusal()
        assert primary.decrypted == b""
        assert b"SENTINEL" in sentinels.front.decrypted
        assert b"EVALSHA" not in primary.in_clear  # The sentinel and the replica do speak so.


def assert_nothing_is_sent(url: str) -> None:
    with pytest.raises(LedgerUnavailableError) as ledger:
        Ledger(url).lookup("any")
    with pytest.raises(BrokerUnavailableError) as broker:
        Publisher(url).ping()
    for caught in (ledger, broker):
        assert "certificate" in str(caught.value)
        assert "ssl_ca_certs" in str(caught.value)
        assert "<redis" not in str(caught.value)


def assert_a_failover_is_followed(sentinels: Sentinels, url: str, folder: Path) -> None:
    settings = load_settings(broker_url=url)
    assert settings.ledger == url
    producer = Producer(settings)
    with LocalCognito() as cognito:
        pool = cognito.create_pool()
        cognito.add_user(pool, "ada")
        environment = os.environ | cognito.environment() | {"DEVICE_STATUS_BROKER_URL": url}
        worker = WorkerProcess(environment, folder / "worker.log").start().wait_until_ready()
        try:

            def enqueue() -> str:
                key = cognito.add_device(pool, "ada")
                fields = {
                    "user_pool_id": pool,
                    "username": "ada",
                    "device_key": key,
                    "status": "not_remembered",
                }
                return producer.enqueue(fields)

            def is_done(command_id: str) -> bool:
                record = producer.lookup(command_id)
                return record is not None and record.outcome is State.SUCCEEDED

            first = enqueue()
            eventually(lambda: is_done(first), "a command is done")
            sentinels.servers[0].kill()
            deadline = time.monotonic() + 60
            while True:
                try:
                    second = enqueue()
                    break
                except Exception:
                    assert time.monotonic() < deadline, "no failover"
            eventually(lambda: is_done(second), "a command is done after the failover", 90)
            assert worker.terminate() == 0
        finally:
            worker.kill()

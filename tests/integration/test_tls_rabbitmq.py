"""RabbitMQ over TLS: a node whose certificate is not right gets not one byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import trustme

from device_status import Producer, PublishError, State, load_settings
from device_status.publisher import BrokerUnavailableError, Publisher
from device_status_worker.local import LocalCognito
from support import wire_object
from support.amqp import delete_queues
from support.rabbitmq import RabbitMQ
from support.servers import free_port
from support.tls import BAD, TlsFront, good
from support.tls_clients import assert_refused, environment_for, findings, kept_away
from support.waiting import eventually
from support.workers import WorkerProcess

PASSWORD = "guest"


@pytest.fixture(scope="module")
def port(rabbitmq: RabbitMQ) -> int:
    delete_queues(rabbitmq.url)
    return int(rabbitmq.url.rpartition(":")[2].rstrip("/"))


@pytest.fixture
def front(port: int, authority: trustme.CA) -> Iterator[TlsFront]:
    """With a certificate for what this host is called here."""
    with TlsFront(port, good(authority)) as front:
        yield front


def node(port: int, host: str = "localhost") -> str:
    return f"amqps://guest:{PASSWORD}@{host}:{port}//"


def ping(url: str, **options: Any) -> None:
    Publisher(f"{url}{'?' if options else ''}{urlencode(options)}").ping()


def test_a_right_certificate_carries_a_command_from_end_to_end(
    front: TlsFront, ca: Path, redis_url: str, tmp_path: Path
) -> None:
    with LocalCognito() as cognito:
        pool = cognito.create_pool()
        cognito.add_user(pool, "ada")
        fields = wire_object(user_pool_id=pool, username="ada", device_key=cognito.add_device(pool, "ada"))
        url = f"{node(front.port)}?ssl_ca_certs={quote(str(ca))}"
        environment = environment_for(url, redis_url) | cognito.environment()
        worker = WorkerProcess(environment, tmp_path / "worker.log").start()
        try:
            worker.wait_until_ready()
            producer = Producer(load_settings(broker_url=url, ledger_url=redis_url))
            command_id = producer.enqueue(fields)

            def is_done() -> bool:
                record = producer.lookup(command_id)
                return record is not None and record.outcome is State.SUCCEEDED

            eventually(is_done, "it is done")
            assert worker.terminate() == 0
        finally:
            worker.kill()
    assert not findings(environment, "error")
    # So that the tests below would see it.
    assert PASSWORD.encode() in front.decrypted
    assert front.in_clear == b""
    assert front.server_names == {"localhost"}


@pytest.mark.parametrize("certificate", BAD)
@pytest.mark.parametrize("names_the_authority", [True, False])
class TestACertificate:
    """Of an impostor: nothing is sent to it."""

    @pytest.fixture
    def options(self, names_the_authority: bool, ca: Path) -> str:
        return f"?ssl_ca_certs={quote(str(ca))}" if names_the_authority else ""

    @pytest.fixture
    def impostor(self, front: TlsFront, certificate: str, authority: trustme.CA) -> Iterator[TlsFront]:
        front.show(BAD[certificate](authority))
        yield front
        front.wait_for_refusal()
        assert front.received == b""

    def test_keeps_a_producer_away(self, impostor: TlsFront, options: str, redis_url: str) -> None:
        url = node(impostor.port) + options
        with pytest.raises(PublishError) as caught:
            Producer(load_settings(broker_url=url, ledger_url=redis_url)).enqueue(wire_object())
        assert_refused(str(caught.value), secret=PASSWORD)

    def test_keeps_a_worker_away(
        self, impostor: TlsFront, options: str, redis_url: str, tmp_path: Path
    ) -> None:
        environment = environment_for(node(impostor.port) + options, redis_url)
        assert "certificate verify failed" in kept_away(environment, tmp_path, secret=":guest@")


class TestOfSeveralNodes:
    def test_each_is_verified_by_its_own_name(self, port: int, authority: trustme.CA, ca: Path) -> None:
        dead = node(free_port(), "127.0.0.1")
        with TlsFront(port, good(authority, "localhost")) as second:
            ping(f"{dead};{node(second.port)}", ssl_ca_certs=ca)
            second.show(good(authority, "127.0.0.1"))
            with pytest.raises(BrokerUnavailableError):
                ping(f"{dead};{node(second.port)}", ssl_ca_certs=ca)
            second.wait_for_refusal()
            assert second.received == b""

    def test_a_worker_verifies_each_so(
        self, port: int, authority: trustme.CA, ca: Path, redis_url: str, tmp_path: Path
    ) -> None:
        with TlsFront(port, good(authority, "localhost")) as second:
            url = f"{node(free_port(), '127.0.0.1')};{node(second.port)}?{urlencode({'ssl_ca_certs': ca})}"
            worker = WorkerProcess(environment_for(url, redis_url), tmp_path / "worker.log").start()
            try:
                worker.wait_until_ready()
                assert worker.terminate() == 0
            finally:
                worker.kill()
        assert "certificate" not in worker.output

    def test_an_address_is_a_name(self, port: int, authority: trustme.CA, ca: Path) -> None:
        with TlsFront(port, good(authority, "127.0.0.1")) as front:
            ping(node(front.port, "127.0.0.1"), ssl_ca_certs=ca)
            with pytest.raises(BrokerUnavailableError):
                ping(node(front.port), ssl_ca_certs=ca)


def test_a_node_that_wants_a_certificate_gets_it(
    port: int, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    both = tmp_path / "client.pem"
    authority.issue_cert("worker.example.com").private_key_and_cert_chain_pem.write_to_path(both)
    with TlsFront(port, good(authority), client_authority=authority) as front:
        with pytest.raises(BrokerUnavailableError):
            ping(node(front.port), ssl_ca_certs=ca)
        assert front.received == b""
        ping(node(front.port), ssl_ca_certs=ca, ssl_certfile=both)


class TestWithoutVerification:
    @pytest.mark.parametrize("certificate", BAD)
    def test_any_certificate_will_do_and_doctor_warns(
        self, certificate: str, front: TlsFront, authority: trustme.CA, redis_url: str
    ) -> None:
        front.show(BAD[certificate](authority))
        ping(node(front.port), ssl_cert_reqs="none")
        environment = environment_for(f"{node(front.port)}?ssl_cert_reqs=none", redis_url)
        warnings = findings(environment, "warning")
        assert [check for check, text in warnings if "certificate is not verified" in text] == ["broker"]

    def test_of_the_host_name_the_authority_still_counts(
        self, front: TlsFront, authority: trustme.CA, ca: Path
    ) -> None:
        front.show(BAD["for another name"](authority))
        ping(node(front.port), ssl_ca_certs=ca, ssl_check_hostname="false")
        front.show(BAD["of an unknown authority"](authority))
        with pytest.raises(BrokerUnavailableError):
            ping(node(front.port), ssl_ca_certs=ca, ssl_check_hostname="false")
        assert front.received == b""

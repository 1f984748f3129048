"""Nobody listens in: a server whose certificate is not right gets not one byte, on any way to Redis."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import redis
import trustme

from device_status import (
    Incidents,
    LedgerUnavailableError,
    Producer,
    PublishError,
    Settings,
    State,
    load_settings,
)
from device_status.ledger import Ledger
from device_status_worker.local import LocalCognito
from device_status_worker.notifier import Notifier
from support import wire_object
from support.raw_server import raw_server, saying
from support.servers import HOST, Valkey, start_valkey
from support.terminal import run
from support.tls import BAD, TlsFront, good
from support.tls_clients import assert_refused, environment_for, findings, kept_away
from support.waiting import eventually
from support.workers import WorkerProcess

PASSWORD = "hunter2-and-more"
NOT_VERIFIED = re.compile(r"WARNING.* certificate is not verified")


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    """A Valkey with a password."""
    with start_valkey() as server, closing(redis.Redis.from_url(server.url)) as client:
        client.config_set("requirepass", PASSWORD)
        yield server


def port_of(server: Valkey) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def tls_url(front: TlsFront, *, host: str = "localhost", password: str = PASSWORD, **options: Any) -> str:
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in options.items())
    return f"rediss://:{password}@{host}:{front.port}/0{'?' if query else ''}{query}"


def in_clear(server: Valkey) -> str:
    return f"redis://:{PASSWORD}@{HOST}:{port_of(server)}/0"


def enqueue(url: str, *, ledger: str = "") -> None:
    Producer(load_settings(broker_url=url, ledger_url=ledger)).enqueue(wire_object())


def send(environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and standard error of `device-status send`."""
    fields = [(f"--{name.replace('_', '-')}", value) for name, value in wire_object().items()]
    done = run(environment, "send", *chain(*fields))
    return done.returncode, done.stderr


class TestARightCertificate:
    def test_carries_a_command_from_end_to_end(
        self, server: Valkey, authority: trustme.CA, ca: Path, tmp_path: Path
    ) -> None:
        with TlsFront(port_of(server), good(authority)) as front, LocalCognito() as cognito:
            pool = cognito.create_pool()
            cognito.add_user(pool, "ada")
            fields = wire_object(
                user_pool_id=pool, username="ada", device_key=cognito.add_device(pool, "ada")
            )
            url = tls_url(front, ssl_ca_certs=ca)
            environment = environment_for(url) | cognito.environment()
            worker = WorkerProcess(environment, tmp_path / "worker.log").start()
            try:
                worker.wait_until_ready()
                producer = Producer(load_settings(broker_url=url))
                command_id = producer.enqueue(fields)
                eventually(lambda: _outcome(producer, command_id) is State.SUCCEEDED, "it is done")
                assert send(environment) == (0, "")
                assert worker.terminate() == 0
            finally:
                worker.kill()
            assert not NOT_VERIFIED.search(worker.output)
            assert not findings(environment, "error")
            assert "verified" not in str(findings(environment, "warning"))
            # So that the tests below would see it.
            assert PASSWORD.encode() in front.decrypted
            assert front.in_clear == b""
            assert front.server_names == {"localhost"}

    def test_may_be_for_an_address(self, server: Valkey, authority: trustme.CA, ca: Path) -> None:
        with TlsFront(port_of(server), good(authority, HOST)) as front:
            enqueue(tls_url(front, host=HOST, ssl_ca_certs=ca))
            with pytest.raises(LedgerUnavailableError):
                enqueue(tls_url(front, ssl_ca_certs=ca))

    def test_may_be_of_the_systems_authorities(
        self, server: Valkey, authority: trustme.CA, ca: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        with TlsFront(port_of(server), good(authority)) as front:
            enqueue(tls_url(front))


def _outcome(producer: Producer, command_id: str) -> State | None:
    record = producer.lookup(command_id)
    return record.outcome if record else None


@pytest.mark.parametrize("certificate", BAD)
class TestACertificate:
    """Of an impostor: nothing is sent to it."""

    @pytest.fixture
    def impostor(self, certificate: str, server: Valkey, authority: trustme.CA) -> Iterator[TlsFront]:
        with TlsFront(port_of(server), BAD[certificate](authority)) as impostor:
            yield impostor
            impostor.wait_for_refusal()
            assert impostor.received == b""

    def test_keeps_a_producer_from_the_ledger(self, impostor: TlsFront, ca: Path) -> None:
        producer = Producer(load_settings(broker_url=tls_url(impostor, ssl_ca_certs=ca)))
        with pytest.raises(LedgerUnavailableError) as caught:
            producer.enqueue(wire_object())
        assert_refused(str(caught.value), secret=PASSWORD)

    def test_keeps_a_producer_from_the_broker(self, impostor: TlsFront, ca: Path, server: Valkey) -> None:
        broker = tls_url(impostor, ssl_ca_certs=ca)
        producer = Producer(load_settings(broker_url=broker, ledger_url=in_clear(server)))
        with pytest.raises(PublishError) as caught:
            producer.enqueue(wire_object())
        assert_refused(str(caught.value), secret=PASSWORD)

    def test_keeps_the_command_line_away(self, impostor: TlsFront, ca: Path, server: Valkey) -> None:
        url = tls_url(impostor, ssl_ca_certs=ca)
        for environment in (environment_for(url), environment_for(url, in_clear(server))):
            code, text = send(environment)
            assert code == 4
            assert_refused(text, secret=PASSWORD)

    def test_keeps_doctor_away(self, impostor: TlsFront, ca: Path) -> None:
        errors = findings(environment_for(tls_url(impostor, ssl_ca_certs=ca)), "error")
        assert [check for check, _ in errors] == ["ledger", "broker"]
        for _, text in errors:
            assert_refused(text, secret=PASSWORD)

    def test_keeps_a_worker_away(self, impostor: TlsFront, ca: Path, server: Valkey, tmp_path: Path) -> None:
        url = tls_url(impostor, ssl_ca_certs=ca)
        assert "certificate verify failed" in kept_away(environment_for(url), tmp_path, secret=PASSWORD)


class TestWithoutOptions:
    """A URL that says no more than rediss:// is verified as well, by the system's authorities."""

    @pytest.mark.parametrize("certificate", BAD)
    def test_a_producer_sends_nothing_to_an_impostor(
        self, certificate: str, server: Valkey, authority: trustme.CA
    ) -> None:
        with TlsFront(port_of(server), BAD[certificate](authority)) as impostor:
            with pytest.raises(LedgerUnavailableError):
                enqueue(tls_url(impostor))
            with pytest.raises(PublishError):
                enqueue(tls_url(impostor), ledger=in_clear(server))
            impostor.wait_for_refusal()
            assert impostor.received == b""

    def test_a_worker_sends_nothing_to_an_impostor(
        self, server: Valkey, authority: trustme.CA, tmp_path: Path
    ) -> None:
        with TlsFront(port_of(server), BAD["self-signed"](authority)) as impostor:
            # With a ledger that works, so that nothing but the broker's connection can keep it away.
            environment = environment_for(tls_url(impostor), in_clear(server))
            log = kept_away(environment, tmp_path, secret=PASSWORD)
            assert "certificate verify failed" in log
            assert impostor.received == b""


class TestTheServerThatWantsACertificate:
    def test_gets_it_of_all_clients(
        self, server: Valkey, authority: trustme.CA, ca: Path, tmp_path: Path
    ) -> None:
        certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
        mine = authority.issue_cert("worker.example.com")
        mine.cert_chain_pems[0].write_to_path(certificate)
        mine.private_key_pem.write_to_path(key)
        with TlsFront(port_of(server), good(authority), client_authority=authority) as front:
            with pytest.raises(LedgerUnavailableError):
                enqueue(tls_url(front, ssl_ca_certs=ca))
            assert front.received == b""
            url = tls_url(front, ssl_ca_certs=ca, ssl_certfile=certificate, ssl_keyfile=key)
            enqueue(url)
            worker = WorkerProcess(environment_for(url), tmp_path / "worker.log").start()
            try:
                worker.wait_until_ready()
                assert worker.terminate() == 0
            finally:
                worker.kill()


class TestWithoutVerification:
    @pytest.mark.parametrize("certificate", BAD)
    def test_any_certificate_will_do_and_doctor_warns(
        self, certificate: str, server: Valkey, authority: trustme.CA
    ) -> None:
        with TlsFront(port_of(server), BAD[certificate](authority)) as front:
            url = tls_url(front, ssl_cert_reqs="none")
            enqueue(url)
            warnings = findings(environment_for(url), "warning")
            assert {check for check, text in warnings if "certificate is not verified" in text} == {
                "ledger",
                "broker",
            }

    def test_a_worker_warns_before_it_connects(
        self, server: Valkey, authority: trustme.CA, tmp_path: Path
    ) -> None:
        with TlsFront(port_of(server), BAD["self-signed"](authority)) as front:
            url = tls_url(front, ssl_cert_reqs="none")
            worker = WorkerProcess(environment_for(url), tmp_path / "worker.log").start()
            try:
                worker.wait_until_ready()
                assert worker.terminate() == 0
            finally:
                worker.kill()
        assert len(NOT_VERIFIED.findall(worker.output)) == 2  # Broker and ledger.
        assert worker.output.index("is not verified") < worker.output.index("Connected to")
        assert PASSWORD not in worker.output

    def test_of_the_host_name_the_authority_still_counts(
        self, server: Valkey, authority: trustme.CA, ca: Path
    ) -> None:
        options = {"ssl_ca_certs": ca, "ssl_check_hostname": "false"}
        with TlsFront(port_of(server), BAD["for another name"](authority)) as front:
            url = tls_url(front, **options)
            enqueue(url)
            assert "host name is not verified" in str(findings(environment_for(url), "warning"))
        with TlsFront(port_of(server), BAD["of an unknown authority"](authority)) as impostor:
            with pytest.raises(LedgerUnavailableError):
                enqueue(tls_url(impostor, **options))
            assert impostor.received == b""


class TestTheWebhook:
    """The receiver of notices: verified as well."""

    @pytest.fixture
    def notify(self, redis_url: str) -> Callable[..., str | None]:
        def notify(url: str, **settings: Any) -> str | None:
            """What an incident that has ended says of its webhook after one try."""
            chosen: Settings = load_settings(
                broker_url=redis_url, incident_webhook=url, incident_webhook_secret=PASSWORD, **settings
            )
            incidents = Incidents(chosen)
            incidents.open("INC-1", user_pool_id="eu-west-1_Ab12Cd34E")
            assert Notifier(Ledger(chosen.ledger), chosen, Event()).notify()
            return incidents.progress("INC-1").webhook

        return notify

    @pytest.fixture
    def receiver(self, authority: trustme.CA) -> Iterator[TlsFront]:
        with (
            raw_server(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server,
            TlsFront(urlsplit(server.url).port or 0, good(authority)) as front,
        ):
            yield front

    def test_may_have_a_certificate_of_a_private_authority(
        self, receiver: TlsFront, ca: Path, notify: Callable[..., str | None]
    ) -> None:
        url = f"https://localhost:{receiver.port}/?token=hunter3"
        assert notify(url, incident_webhook_ca=str(ca)) == "delivered"
        assert b"hunter3" in receiver.decrypted

    @pytest.mark.parametrize("certificate", BAD)
    @pytest.mark.parametrize("names_the_authority", [True, False])
    def test_gets_nothing_with_another(
        self,
        certificate: str,
        names_the_authority: bool,
        receiver: TlsFront,
        authority: trustme.CA,
        ca: Path,
        notify: Callable[..., str | None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        receiver.show(BAD[certificate](authority))
        settings = {"incident_webhook_ca": str(ca)} if names_the_authority else {}
        assert notify(f"https://localhost:{receiver.port}/?token=hunter3", **settings) is None
        receiver.wait_for_refusal()
        assert receiver.received == b""
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "certificate" in warning
        assert "DEVICE_STATUS_INCIDENT_WEBHOOK_CA" in warning
        assert "hunter3" not in warning


def test_a_worker_takes_no_broker_from_celerys_own_variables(redis_url: str, tmp_path: Path) -> None:
    """kombu would read that URL in its own way, and verify nothing."""
    environment = environment_for(redis_url) | {"CELERY_BROKER_URL": "rediss://:hunter2@localhost:1/0"}
    worker = WorkerProcess(environment, tmp_path / "worker.log").start()
    assert worker.wait() == 3
    assert worker.output == (
        "device-status: CELERY_BROKER_URL: is not used; unset it, workers read DEVICE_STATUS_BROKER_URL\n"
    )

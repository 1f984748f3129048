"""Promises of the URLs of broker and ledger: read once and whole, or refused in one line without a secret."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from device_status import Settings, SettingsError, load_settings
from device_status.broker import connection_to, ssl_options, transport_options
from device_status.scripts import connect
from device_status.tls import Tls
from device_status.urls import BROKER_SCHEMES, LEDGER_SCHEMES, Kind, ServerUrl

TLS_SCHEMES = ["rediss", "rediss+sentinel", "amqps"]
SECRET = "hunter2"


def complaint(url: str, *, ledger: bool = False) -> str:
    """The line with which a URL is refused."""
    urls = {"broker_url": "amqp://h", "ledger_url": url} if ledger else {"broker_url": url}
    with pytest.raises(SettingsError) as caught:
        load_settings(**urls)
    text = str(caught.value)
    assert text.startswith(f"DEVICE_STATUS_{'LEDGER' if ledger else 'BROKER'}_URL: ")
    assert "\n" not in text
    assert SECRET not in text
    return text


class TestWhatIsRead:
    def test_a_redis(self) -> None:
        read = ServerUrl.parse("rediss://me:p%40ss@one:1/3?ssl_check_hostname=false")
        assert (read.kind, read.hosts, read.username, read.password, read.database) == (
            *(Kind.REDIS, (("one", 1),), "me", "p@ss", 3),
        )
        assert (read.bare, read.kombu_url) == ("rediss://me:p%40ss@one:1/3", "rediss://me:p%40ss@one:1/3")

    def test_sentinels(self) -> None:
        read = ServerUrl.parse("sentinel://me:p%40ss@one:1;sentinel://two/3?master_name=prime")
        assert (read.kind, read.hosts) == (Kind.SENTINELS, (("one", 1), ("two", 26379)))
        assert (read.username, read.password, read.database) == ("me", "p@ss", 3)
        assert (read.master_name, read.tls) == ("prime", None)
        assert read.kombu_url == "sentinel://me:p%40ss@one:1/3;sentinel://me:p%40ss@two:26379/3"

    def test_sentinels_over_tls(self) -> None:
        read = ServerUrl.parse("rediss+sentinel://:p@[::1]:1;rediss+sentinel://two/0?ssl_ca_certs=/ca.pem")
        assert (read.hosts, read.master_name) == ((("::1", 1), ("two", 26379)), "mymaster")
        assert read.kombu_url == "sentinel://:p@[::1]:1/0;sentinel://:p@two:26379/0"
        assert read.tls == Tls(ca_certs="/ca.pem")

    def test_nodes_of_rabbitmq(self) -> None:
        read = ServerUrl.parse("amqps://a:b@one//;amqps://c:d@two:1/v?ssl_cert_reqs=none")
        assert (read.kind, read.hosts) == (Kind.RABBITMQ, (("one", 5671), ("two", 1)))
        assert read.kombu_url == "amqps://a:b@one//;amqps://c:d@two:1/v"

    def test_a_socket(self) -> None:
        read = ServerUrl.parse("unix:///run/redis.sock?db=2")
        assert (read.kind, read.database, read.bare) == (Kind.SOCKET, 2, "unix:///run/redis.sock")
        assert connect("unix:///run/redis.sock?db=2").connection_pool.connection_kwargs["db"] == 2

    def test_the_options_of_tls_are_the_same_everywhere(self) -> None:
        query = "ssl_ca_certs=/c%26a.pem&ssl_certfile=/c&ssl_keyfile=/k&ssl_cert_reqs=required"
        for scheme in TLS_SCHEMES:
            assert ServerUrl.parse(f"{scheme}://h?{query}").tls == Tls("/c&a.pem", "/c", "/k")
            assert ServerUrl.parse(f"{scheme}://h").tls == Tls(verify=True, check_hostname=True)
            assert ServerUrl.parse(f"{scheme}://h?ssl_cert_reqs=none").tls == Tls(
                verify=False, check_hostname=False
            )

    @pytest.mark.parametrize("scheme", [*BROKER_SCHEMES, *LEDGER_SCHEMES])
    def test_without_s_it_is_in_the_clear(self, scheme: str) -> None:
        assert (ServerUrl.parse(f"{scheme}://h").tls is not None) is (scheme in TLS_SCHEMES)

    def test_kombu_asks_sentinels_in_tls_too(self) -> None:
        sentinels = transport_options("rediss+sentinel://h?ssl_ca_certs=/ca.pem")["sentinel_kwargs"]
        assert (sentinels["ssl"], sentinels["ssl_ca_certs"]) == (True, "/ca.pem")
        assert (sentinels["ssl_cert_reqs"], sentinels["ssl_check_hostname"]) == ("required", True)
        assert ssl_options("sentinel://h") is False


class TestWhatIsRefused:
    @pytest.mark.parametrize("scheme", TLS_SCHEMES)
    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("ssl_cert_reqs=hunter2", "ssl_cert_reqs: must be required or none"),
            ("ssl_cert_reqs=optional", "ssl_cert_reqs: must be required or none"),
            ("ssl_cert_reqs=", "each once and with a value"),
            ("ssl_check_hostname=no", "ssl_check_hostname: must be true or false"),
            ("ssl_cert_reqs=none&ssl_cert_reqs=required", "each once"),
            ("ssl_ca_cert=/hunter2", "it takes only"),
            ("socket_timeout=3", "it takes only"),
            ("hunter2", "it takes only"),
            ("ssl_keyfile=/dev/null", "ssl_keyfile: needs ssl_certfile"),
            ("ssl_ca_certs=/nonexistent/ca.pem", "/nonexistent/ca.pem can't be read: No such file"),
            ("ssl_ca_certs=/", "ssl_ca_certs: / can't be read: Is a directory"),
            ("ssl_ca_certs=/dev/null", "ssl_ca_certs: /dev/null holds no certificate in PEM form"),
            ("ssl_ca_certs=%00", "ssl_ca_certs: "),
            ("ssl_certfile=/dev/null", "ssl_certfile: /dev/null must hold a certificate"),
            ("ssl_certfile=/nonexistent", "ssl_certfile: /nonexistent can't be read"),
        ],
    )
    def test_an_option_of_tls(self, scheme: str, query: str, reason: str) -> None:
        assert reason in complaint(f"{scheme}://:{SECRET}@h/0?{query}")

    @pytest.mark.parametrize("scheme", ["redis", "sentinel", "amqp"])
    @pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_ca_certs=/ca.pem"])
    def test_an_option_of_tls_without_tls(self, scheme: str, option: str) -> None:
        assert "use rediss://, rediss+sentinel:// or amqps://" in complaint(f"{scheme}://h?{option}")

    @pytest.mark.parametrize(
        "url",
        [
            "sentinel://",
            "sentinel://one;redis://two",
            "rediss+sentinel://one;sentinel://two",
            "sentinel://one/x",
            "sentinel://one/0?mastername=x",
            "sentinel://one?master_name=x;sentinel://two",
            "amqps://one;amqp://two",
            "redis://one/0;redis://two/0",
            "rediss://h/0/1",
            "rediss://:a;hunter2@h",
            "redis+sentinel://h",
            "rediss+cluster://h",
        ],
    )
    def test_a_url_that_would_be_read_in_two_ways(self, url: str) -> None:
        complaint(url)

    def test_the_ledgers_is_named(self) -> None:
        assert "ssl_cert_reqs" in complaint("rediss://h?ssl_cert_reqs=x", ledger=True)

    def test_a_key_that_is_not_the_certificates(self, authority: trustme.CA, tmp_path: Path) -> None:
        mine, other = authority.issue_cert("one.example"), authority.issue_cert("two.example")
        mine.cert_chain_pems[0].write_to_path(tmp_path / "mine.pem")
        other.private_key_pem.write_to_path(tmp_path / "other.key")
        url = f"rediss://h?ssl_certfile={tmp_path}/mine.pem&ssl_keyfile={tmp_path}/other.key"
        assert "ssl_keyfile: the key in" in complaint(url)

    def test_a_key_with_a_passphrase_since_nobody_is_there_to_type_it(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        mine = authority.issue_cert("one.example")
        key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )
        mine.cert_chain_pems[0].write_to_path(tmp_path / "mine.pem")
        (tmp_path / "mine.key").write_bytes(encrypted)
        url = f"rediss://h?ssl_certfile={tmp_path}/mine.pem&ssl_keyfile={tmp_path}/mine.key"
        assert "ssl_keyfile: the private key is encrypted" in complaint(url)

    @pytest.mark.parametrize("file", ["/nonexistent", "/dev/null"])
    def test_the_webhooks_authority(self, file: str) -> None:
        with pytest.raises(SettingsError, match=f"^DEVICE_STATUS_INCIDENT_WEBHOOK_CA: {file} "):
            load_settings(incident_webhook_ca=file)


def refusals(url: str) -> list[str]:
    """The texts with which a URL is refused as broker's and as ledger's; none where it is taken."""
    texts = []
    for urls in ({"broker_url": url, "ledger_url": "redis://h"}, {"ledger_url": url}):
        try:
            load_settings(**urls)
        except SettingsError as error:
            texts.append(str(error))
    return texts


@given(
    scheme=st.sampled_from([*BROKER_SCHEMES, *LEDGER_SCHEMES]),
    text=st.text(st.sampled_from("/?#[]@:;%&=+ .0a\n\x00é"), max_size=12),
    tail=st.sampled_from(["@h/0", "@h", "", "?ssl_cert_reqs=none", "@h/0?master_name=x", ";redis://h"]),
)
def test_whatever_is_refused_is_so_in_one_line_without_the_password(
    scheme: str, text: str, tail: str
) -> None:
    for refusal in refusals(f"{scheme}://:{text}{SECRET}{text}{tail}"):
        assert refusal.startswith(("DEVICE_STATUS_BROKER_URL: ", "DEVICE_STATUS_LEDGER_URL: "))
        assert "\n" not in refusal
        assert SECRET not in refusal


_USER_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).map(
    lambda text: quote(text, safe="")
)


@given(
    scheme=st.sampled_from(["redis", "rediss", "amqp", "amqps"]),
    user=st.just("") | _USER_TEXT,
    password=_USER_TEXT | st.text(st.sampled_from("/?#[]@:;%&=+ .0a\n\t\x00é"), min_size=1, max_size=6),
    host=st.sampled_from(["h", "H.example", "10.0.0.1", "[::1]", "h:1", "[::1]:1", "h%2f", "ü"]),
    path=st.sampled_from(["", "/", "/3", "//", "/v"]),
)
def test_whatever_is_taken_both_clients_read_alike(
    scheme: str, user: str, password: str, host: str, path: str
) -> None:
    url = f"{scheme}://{user}:{password}@{host}{path}"
    try:
        Settings(broker_url=url, ledger_url="redis://h")
    except SettingsError:
        return
    read = ServerUrl.parse(url)
    broker = connection_to(url)
    ((read_host, read_port),) = read.hosts
    assert (broker.hostname, broker.userid, broker.password) == (read_host, read.username, read.password)
    assert (broker.port or read_port) == read_port
    if read.kind is Kind.REDIS:
        ledger = connect(url).connection_pool.connection_kwargs
        assert (ledger["host"], ledger.get("port", 6379), ledger["db"]) == (
            *(read_host, read_port, read.database),
        )
        assert (ledger.get("username"), ledger["password"]) == (read.username, read.password)
        assert int(broker.virtual_host.strip("/") or 0) == read.database

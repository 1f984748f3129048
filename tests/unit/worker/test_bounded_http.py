"""Promises of requests: each ends in time, and reads no more than it may, whatever the other side does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from device_status_worker.bounded_http import BoundedHttp, HttpAnswer, NoAnswerError
from support.raw_server import RawServer, Serve, dripping, raw_server, saying
from support.servers import HOST, free_port
from support.tls import TlsFront, good

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Said: this\r\n\r\n{}"
LIMIT = 64 * 1024
SOON = 5.0
"""Seconds that a busy machine may add to a deadline of half a second."""


def http(**options: Any) -> BoundedHttp:
    return BoundedHttp(connections=2, ca_certs=None, **{"connect": 3, "read": 10} | options)


def send(
    url: str, client: BoundedHttp | None = None, *, seconds: float = 10.0, proxy: str = ""
) -> HttpAnswer:
    return (client or http()).send("POST", url, {}, b"body", seconds=seconds, limit=LIMIT, proxy=proxy)


def ends(url: str, *, seconds: float = 0.5, **options: Any) -> NoAnswerError:
    """How a request ends that must end in time."""
    began_at = time.monotonic()
    with pytest.raises(NoAnswerError) as ended:
        send(url, seconds=seconds, **options)
    assert time.monotonic() - began_at < seconds + SOON
    return ended.value


def test_an_answer_has_status_headers_and_body() -> None:
    with raw_server(saying(OK)) as server:
        answer = send(server.url)
    assert (answer.status, answer.body, answer.headers["x-said"]) == (200, b"{}", "this")


def test_connections_are_kept() -> None:
    client = http()
    with raw_server(saying(OK)) as server:
        for _ in range(5):
            send(server.url, client)
        assert server.connections == 1


def test_a_request_whose_time_is_over_is_not_sent_over_a_kept_connection_either() -> None:
    client = http()
    with raw_server(saying(OK)) as server:
        send(server.url, client)
        ended = ends(server.url, client=client, seconds=0)
        assert (ended.name, ended.may_have_left) == ("ConnectTimeoutError", False)
        assert len(server.received) == 1


def test_no_redirect_is_followed() -> None:
    with raw_server(saying(b"HTTP/1.1 307 Go\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")) as server:
        assert send(server.url).status == 307
        assert len(server.received) == 1


@pytest.mark.parametrize(
    "slow",
    [
        dripping(OK, 0.05),
        lambda connection, over: (connection.sendall(OK[:-1]), over.wait()),
        lambda connection, over: (connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n"), over.wait(0.1)),
        lambda connection, over: over.wait(),
    ],
    ids=["drips", "stops", "goes on continuing", "says nothing"],
)
def test_an_answer_that_does_not_end_is_given_up_at_the_deadline(slow: Serve) -> None:
    with raw_server(slow) as server:
        assert ends(server.url).may_have_left


def test_an_endless_body_is_given_up_at_the_deadline() -> None:
    def endless(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not over.wait(0.05):
            connection.sendall(b"1\r\nx\r\n")

    with raw_server(endless) as server:
        assert ends(server.url).name == "ReadTimeoutError"


class TestTls:
    """The same under TLS, and under that of a proxy inside which the answer's own runs."""

    @pytest.fixture
    def client(self, ca: Path) -> BoundedHttp:
        return BoundedHttp(connections=2, ca_certs=str(ca), connect=3, read=10)

    @pytest.fixture
    def dripper(self, authority: trustme.CA) -> Iterator[str]:
        """URL of a server that drips."""
        with raw_server(dripping(OK, 0.05)) as server, TlsFront(server.port, good(authority)) as front:
            yield f"https://localhost:{front.port}/"

    def test_an_answer_that_drips_is_given_up_at_the_deadline(
        self, client: BoundedHttp, dripper: str
    ) -> None:
        ended = ends(dripper, client=client)
        assert (ended.name, ended.may_have_left) == ("ReadTimeoutError", True)

    def test_one_that_drips_through_a_proxy_is_given_up_too(
        self, client: BoundedHttp, dripper: str, authority: trustme.CA
    ) -> None:
        def forward(connection: socket.socket, _: threading.Event) -> None:
            with socket.create_connection((HOST, urlsplit(dripper).port or 0)) as there:
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=pump, args=(there, connection), daemon=True)
                back.start()
                pump(connection, there)
                back.join()

        with raw_server(forward) as proxy, TlsFront(proxy.port, good(authority)) as front:
            ended = ends(dripper, client=client, proxy=f"https://localhost:{front.port}")
            assert (ended.name, ended.may_have_left) == ("ReadTimeoutError", True)
            assert proxy.received[0].startswith(b"CONNECT localhost:")


def pump(source: socket.socket, destination: socket.socket) -> None:
    """Forward what comes until it ends."""
    with suppress(OSError):
        while piece := source.recv(65536):
            destination.sendall(piece)
        destination.shutdown(socket.SHUT_WR)


def test_endless_headers_end() -> None:
    def endless(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not over.is_set():
            connection.sendall(b"X: x\r\n" * 100)

    with raw_server(endless) as server:
        assert ends(server.url, seconds=10).may_have_left


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 100000000", b"Transfer-Encoding: chunked", b"Connection: close"],
    ids=["announced", "chunked", "to the end"],
)
def test_no_more_is_read_than_the_limit(head: bytes) -> None:
    sent = 0

    def flood(connection: socket.socket, over: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        piece = b"x" * 65536
        piece = b"10000\r\n" + piece + b"\r\n" if b"chunked" in head else piece
        while not over.is_set() and sent < 100_000_000:
            connection.sendall(piece)
            sent += len(piece)

    with raw_server(flood) as server:
        ended = ends(server.url, seconds=30)
    assert (ended.name, ended.status) == ("AnswerTooLong", 200)
    # What the kernel's buffers take is not read.
    assert sent < 50_000_000


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["body", "chunks", "status", "not HTTP", "nothing"],
)
def test_an_answer_that_is_cut_is_none(cut: bytes) -> None:
    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(cut)
        connection.shutdown(socket.SHUT_RDWR)

    with raw_server(serve) as server:
        assert ends(server.url, seconds=10).may_have_left


def test_a_refused_connection_carried_nothing() -> None:
    ended = ends(f"http://{HOST}:{free_port()}/")
    assert (ended.name, ended.may_have_left) == ("EndpointConnectionError", False)


def test_a_name_that_does_not_exist_carried_nothing() -> None:
    ended = ends("http://nowhere.invalid/", seconds=10)
    assert (ended.name, ended.may_have_left) == ("EndpointConnectionError", False)


@pytest.fixture
def unanswered() -> Any:
    """Address of a listener whose queue is full: the kernel answers nobody more."""
    with socket.create_server((HOST, 0), backlog=1) as listener:
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()
        for each in waiting:
            each.close()


def test_many_addresses_that_do_not_answer_share_one_deadline(
    unanswered: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", unanswered)] * 50
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: many)
    ended = ends("http://many.example/", client=http(connect=0.2))
    assert (ended.name, ended.may_have_left) == ("ConnectTimeoutError", False)


def test_an_address_that_does_not_answer_is_followed_by_the_next(
    unanswered: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(saying(OK)) as server:
        two = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in (unanswered, (HOST, server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)
        assert send("http://two.example/", http(connect=0.2)).status == 200


def test_a_name_that_took_too_long_to_look_up_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(saying(OK)) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, server.port))]
        passed = threading.Event()

        def slow(*_: Any, **__: Any) -> Any:
            passed.wait(0.3)
            return found

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        ended = ends("http://slow.example/", seconds=0.1)
        assert (ended.name, ended.may_have_left) == ("ConnectTimeoutError", False)
        assert server.received == []


class TestProxy:
    def test_a_request_goes_through_it_with_its_credentials(self) -> None:
        with raw_server(saying(OK)) as proxy:
            answer = send("http://cognito.example/", proxy=f"http://ada:p%40ss@{HOST}:{proxy.port}")
            assert answer.status == 200
            (request,) = proxy.received
        assert request.startswith(b"POST http://cognito.example/ HTTP/1.1\r\n")
        assert b"authorization: Basic YWRhOnBAc3M=" in request.replace(b"Authorization", b"authorization")

    @pytest.mark.parametrize(
        "refusal", [b"407 Who are you", b"403 Forbidden", b"502 Bad Gateway"], ids=["407", "403", "502"]
    )
    def test_one_that_refuses_carried_nothing(self, refusal: bytes) -> None:
        with raw_server(saying(b"HTTP/1.1 " + refusal + b"\r\nContent-Length: 0\r\n\r\n")) as proxy:
            ended = ends("https://cognito.example/", proxy=_url(proxy), seconds=10)
        assert (ended.name, ended.may_have_left) == ("ProxyConnectionError", False)

    def test_one_that_drips_is_given_up_at_the_deadline(self) -> None:
        with raw_server(dripping(b"HTTP/1.1 200 Connected\r\n" * 9, 0.2)) as proxy:
            ends("https://cognito.example/", proxy=_url(proxy))


def _url(server: RawServer) -> str:
    return f"http://{HOST}:{server.port}"

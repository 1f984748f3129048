"""HTTP requests that end in time, whatever the other side does, and read no more than they may.

urllib3's timeouts hold for each single read: an answer that drips, a byte every few seconds, meets none of
them. Here the whole exchange has one deadline, on the monotonic clock: looking up the name, connecting to
each of its addresses, TLS, a proxy's part, the request, and the answer to its last byte. Only the name's
look-up can't be cut short; when it has taken too long, the request is not sent.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from urllib3 import BaseHTTPResponse, PoolManager, Timeout, make_headers, proxy_from_url
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util.ssl_ import create_urllib3_context

from device_status_worker.deadlines import POOL_CLASSES, TlsSocket, deadline_in

MOST_HOSTS: Final = 200
"""To which connections are kept."""

_NAMES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ProxyError, "ProxyConnectionError"),
    (NewConnectionError, "EndpointConnectionError"),
    (ConnectTimeoutError, "ConnectTimeoutError"),
    (SSLError, "SSLError"),
    (ReadTimeoutError, "ReadTimeoutError"),
    (TimeoutError, "ReadTimeoutError"),
)
"""What went wrong, by the names that botocore gives it; anything else is a `ConnectionClosedError`."""
_NEVER_LEFT: Final = (ProxyError, NewConnectionError, ConnectTimeoutError)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, read to its announced end."""

    status: int
    headers: Mapping[str, str]
    """Looked up in any case."""
    body: bytes


class NoAnswerError(Exception):
    """No whole answer came.

    Attributes:
        name: what happened, as `ReadTimeoutError`; holds nothing of the request.
        may_have_left: whether the request may have reached the other side, and may still take effect.
        status: of an answer whose head came and whose body did not come whole; else 0.
    """

    def __init__(self, name: str, *, may_have_left: bool, status: int = 0) -> None:
        super().__init__(name)
        self.name = name
        self.may_have_left = may_have_left
        self.status = status


class BoundedHttp:
    """Sends requests over connections that are kept. Safe to share among threads.

    Parameters:
        connections: most that are kept to one host.
        ca_certs: file of the certificate authorities to trust; None: those of the system.
        connect, read: seconds for each attempt to connect and each single read.

    Raises:
        OSError: `ca_certs` can't be read.
    """

    def __init__(self, connections: int, ca_certs: str | None, *, connect: float, read: float) -> None:
        self._connections = connections
        self._tls = _verifying(ca_certs)
        self._timeout = Timeout(connect=connect, read=read)
        self._lock = threading.Lock()
        self._managers: dict[str, PoolManager] = {}

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        seconds: float,
        limit: int,
        proxy: str = "",
    ) -> HttpAnswer:
        """Send one request, once, and follow no redirect.

        Parameters:
            seconds: for everything.
            limit: most bytes of the answer's body.
            proxy: its URL; empty for none.

        Raises:
            NoAnswerError: no whole answer within `seconds` and `limit`.
            ValueError, urllib3.exceptions.HTTPError: `proxy` is not a URL that can be used.
        """
        manager = self._manager(proxy)
        with deadline_in(seconds):
            try:
                response = manager.urlopen(
                    method,
                    url,
                    headers=headers,
                    body=body,
                    timeout=self._timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
            except (HTTPError, OSError) as error:
                raise _no_answer(error) from error
            return HttpAnswer(response.status, response.headers, _body(response, limit))

    def prepare(self, proxy: str) -> None:
        """Do what the first request through this proxy, or without one if it is empty, would do slowly."""
        self._manager(proxy)

    def _manager(self, proxy: str) -> PoolManager:
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._new_manager(proxy)
            return self._managers[proxy]

    def _new_manager(self, proxy: str) -> PoolManager:
        options: dict[str, Any] = {
            "num_pools": MOST_HOSTS,
            "maxsize": self._connections,
            "ssl_context": self._tls,
        }
        if proxy:
            options["proxy_ssl_context"] = self._tls
            there = urlsplit(proxy)
            if there.username:
                user = f"{unquote(there.username)}:{unquote(there.password or '')}"
                options["proxy_headers"] = make_headers(proxy_basic_auth=user)
            manager: PoolManager = proxy_from_url(proxy, **options)
        else:
            manager = PoolManager(**options)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager


def _verifying(ca_certs: str | None) -> ssl.SSLContext:
    """TLS that verifies chain and host name."""
    context = create_urllib3_context()
    context.check_hostname = True
    if ca_certs:
        context.load_verify_locations(ca_certs)
    else:
        context.load_default_certs()
    context.sslsocket_class = TlsSocket
    return context


def _body(response: BaseHTTPResponse, limit: int) -> bytes:
    content = b""
    try:
        # To the end, where urllib3 notices that less came than was announced.
        while piece := response.read(limit + 1):
            content += piece
            if len(content) > limit:
                response.close()
                raise NoAnswerError("AnswerTooLong", may_have_left=True, status=response.status)
    except (HTTPError, OSError) as error:
        raise _no_answer(error, response.status) from error
    response.release_conn()
    return content


def _no_answer(error: Exception, status: int = 0) -> NoAnswerError:
    name = next((name for kind, name in _NAMES if isinstance(error, kind)), "ConnectionClosedError")
    unverified = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
    never_left = unverified or isinstance(error, _NEVER_LEFT)
    return NoAnswerError(name, may_have_left=not never_left, status=status)

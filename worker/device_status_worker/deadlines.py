"""urllib3's connections, made to keep a deadline for a whole exchange.

urllib3's own timeouts hold for each single read, and for each address of a name.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError


class _Deadline(threading.local):
    """Of the exchange that this thread is in; a connection serves one thread at a time."""

    at = math.inf


_deadline: Final = _Deadline()


@contextmanager
def deadline_in(seconds: float) -> Iterator[None]:
    """End whatever this thread sends or reads by `POOL_CLASSES` after so many seconds."""
    outer = _deadline.at
    _deadline.at = min(outer, time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.at = outer


def _time_left(most: float | None) -> float:
    left = _deadline.at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left if most is None else min(left, most)


class _Socket(socket.socket):
    """Waits for no read past the deadline."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(_time_left(self.gettimeout()))
        return super().recv_into(*arguments, **options)


class TlsSocket(ssl.SSLSocket):
    """Waits for no read past the deadline."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(_time_left(self.gettimeout()))
        return super().recv_into(*arguments, **options)

    def recv(self, *arguments: Any, **options: Any) -> bytes:
        # Where TLS runs inside the TLS of a proxy.
        self.settimeout(_time_left(self.gettimeout()))
        return super().recv(*arguments, **options)


class _ConnectsInTime(HTTPConnection):
    """urllib3 would give each address of a name the whole timeout."""

    def _new_conn(self) -> socket.socket:
        try:
            return self._connected()
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"connection to {self.host} timed out") from error
        except (OSError, UnicodeError, OverflowError) as error:
            raise NewConnectionError(self, f"no connection to {self.host}: {error}") from error

    def _connected(self) -> socket.socket:
        addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            sock = _Socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.settimeout(_time_left(self.timeout))
                sock.connect(address)
            except OSError as error:
                failure = error
                sock.close()
            else:
                return sock
        raise failure

    def send(self, data: Any) -> None:
        """Send, unless connecting has used up the time: what leaves late may take effect late."""
        if self.sock is None:
            self.connect()
        try:
            _time_left(None)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the deadline passed before the request could leave") from error
        super().send(data)


class _TlsConnectsInTime(_ConnectsInTime, HTTPSConnection):
    """The same under TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _ConnectsInTime


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnectsInTime


POOL_CLASSES: Final = {"http": _Pool, "https": _TlsPool}
"""For `pool_classes_by_scheme` of urllib3's managers; their TLS context makes each socket a `TlsSocket`."""

"""A TCP forwarder before a server: an endpoint that can move while old connections stay alive."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from support.servers import HOST

_CHUNK = 65_536


class Forwarder:
    """Forwards each new connection to the present target; a context manager."""

    def __init__(self, target: int) -> None:
        """`target` is a port of this host."""
        self._target = target
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._flows.set()

    @property
    def url(self) -> str:
        """Of a Redis behind it."""
        return f"redis://{HOST}:{self.port}/0"

    def lead_to(self, target: int) -> None:
        """Forward new connections to this port; those that there are stay where they are."""
        self._target = target

    def hold(self) -> None:
        """Let nothing through, on connections that stay open; what comes meanwhile is kept."""
        self._flows.clear()

    def release(self) -> None:
        """The inverse of `hold`."""
        self._flows.set()

    def cut(self) -> None:
        """End every connection."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def inject(self, data: bytes) -> None:
        """Send every client what the server never said."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            with suppress(OSError):
                if each.getsockname()[1] == self.port:
                    each.sendall(data)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._flows.wait()
                sink.sendall(data)
        # Both ends, so that neither waits for the other; closed when the other direction has ended as well.
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._sockets.discard(source)
        source.close()

"""A TCP server that answers as a test says, byte by byte if need be."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from support.servers import HOST

Serve = Callable[[socket.socket, threading.Event], None]
"""Serves one connection; the event is set when the test is over."""


@dataclass
class RawServer:
    """Where it listens, and what it has received so far."""

    port: int
    connections: int = 0
    received: list[bytes] = field(default_factory=list)
    """Requests, each whole."""

    @property
    def url(self) -> str:
        """Of its root."""
        return f"http://{HOST}:{self.port}/"


@contextmanager
def raw_server(serve: Serve) -> Iterator[RawServer]:
    """Serve each HTTP request, when it has come whole; a thread for each connection."""
    over = threading.Event()
    with socket.create_server((HOST, 0), backlog=50) as listener:
        server = RawServer(listener.getsockname()[1])

        def run(connection: socket.socket) -> None:
            with connection, suppress(OSError), connection.makefile("rb") as incoming:
                while request := _read_request(incoming):
                    server.received.append(request)
                    serve(connection, over)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                server.connections += 1
                threading.Thread(target=run, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


def _read_request(incoming: BinaryIO) -> bytes:
    head = b""
    while line := incoming.readline():
        head += line
        if line == b"\r\n":
            break
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return head + (incoming.read(int(length[1])) if length else b"")


def dripping(answer: bytes, pace: float) -> Serve:
    """Sends the answer byte by byte, `pace` seconds apart."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        for place in range(len(answer)):
            if over.wait(pace):
                return
            connection.sendall(answer[place : place + 1])

    return serve


def saying(answer: bytes) -> Serve:
    """Sends the answer at once."""
    return lambda connection, _: connection.sendall(answer)

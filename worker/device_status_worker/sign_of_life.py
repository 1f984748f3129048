"""A file that a worker touches as long as it is connected to its broker, for health checks.

RabbitMQ does not say over AMQP who listens; the worker itself does, at the cost of one system call.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Final

EVERY: Final = 5.0
"""Seconds between two touches."""
_PREFIX: Final = "device-status-worker-"


def touch() -> None:
    """This process takes messages. If there is no folder to write to, the sign is all that is missing."""
    with contextlib.suppress(OSError):
        # No link that somebody else put there is followed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(_path(os.getpid()), flags, 0o644)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)


def remove() -> None:
    """This process takes no more messages."""
    with contextlib.suppress(OSError):
        _path(os.getpid()).unlink(missing_ok=True)


def newest() -> float | None:
    """Seconds since the last sign of the worker of this host that gave one last; None: no worker runs."""
    ages = [
        time.time() - sign.stat().st_mtime
        for sign in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")
        if _runs(sign.name.removeprefix(_PREFIX))
    ]
    return max(0.0, min(ages)) if ages else None


def _path(pid: int) -> Path:
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{pid}"


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OSError):
        return False
    return True

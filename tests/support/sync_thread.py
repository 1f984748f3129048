"""A Valkey whose disk is busy: the thread that syncs its append-only file stands still, and nothing else."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import redis

from device_status_worker.local import EmbeddedValkey
from support.waiting import eventually

_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_WALL: Final = 0x40000000
"""Of wait(2): threads as well."""

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = [ctypes.c_long] * 4
_ptrace.restype = ctypes.c_long


@contextmanager
def busy_disk(server: EmbeddedValkey) -> Iterator[None]:
    """A sync is under way, and it does not end; the server is killed at the end. Linux, and this process must
    have started the server.

    With `everysec` Valkey then holds back for two seconds what it has answered already.
    """
    pid, thread = server.pid, _thread(server, "bio_aof")
    assert pid is not None
    for request in (_SEIZE, _INTERRUPT):
        if _ptrace(request, thread, 0, 0):
            raise OSError(ctypes.get_errno(), "ptrace of the thread that syncs")
    os.waitpid(thread, _WALL)
    try:
        with closing(redis.Redis(port=server.port)) as client:

            def is_syncing() -> bool:
                client.incr("filler")
                return bool(client.info("persistence")["aof_pending_bio_fsync"])

            eventually(is_syncing, "a sync is under way")
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        # The process does not end before its tracer has seen the thread's end.
        os.waitpid(thread, _WALL)
        server.kill()


def _thread(server: EmbeddedValkey, name: str) -> int:
    tasks = Path(f"/proc/{server.pid}/task").iterdir()
    return next(int(task.name) for task in tasks if (task / "comm").read_text().strip() == name)

"""Ends the process if its orderly end takes too long, whatever hangs: Redis, a look-up of a name, the log."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from threading import Thread
from typing import Final

logger = logging.getLogger(__name__)

ORDERLY_END: Final = 25.0
"""Seconds for an orderly end: longer than a call to AWS, and less than the 30 that supervisors give."""
EXIT_CODES: Final = {signal.SIGTERM: 0, signal.SIGINT: 1, signal.SIGQUIT: 1}
"""As Celery's, by the signal that asks for the end."""

_LOG_TAKES: Final = 1.0
"""Seconds that a line in the log may take: whoever reads it may hang as well."""


def start() -> None:
    """Wait for a signal, in a thread that dies with the process; call it from the main thread.

    The signal is not left to its handler: Python runs that in the main thread, when nothing there hangs.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # The thread keeps the writer open.
    Thread(target=_run, args=(reader, writer), name="last-resort", daemon=True).start()


def _run(reader: socket.socket, _writer: socket.socket) -> None:
    while (number := reader.recv(1)[0]) not in EXIT_CODES:
        pass
    time.sleep(ORDERLY_END)
    line = Thread(target=_log, name="last-line", daemon=True)
    line.start()
    line.join(_LOG_TAKES)
    os._exit(EXIT_CODES[signal.Signals(number)])


def _log() -> None:
    logger.error(
        "the worker did not end within %.0f s: broker, ledger or AWS hang; it exits now, and what it has "
        "not given back comes again when its leases are over",
        ORDERLY_END,
    )

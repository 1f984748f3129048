"""A process that a signal asks to end does end, whatever its main thread, its threads and its log do."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import logging, os, signal, sys, threading
from device_status_worker import last_resort

def hang(*_):
    threading.Event().wait()

class Stuck(logging.Handler):
    def emit(self, record):
        print("a line", flush=True)
        hang()

last_resort.ORDERLY_END = 0.2
last_resort._LOG_TAKES = 0.2
logging.getLogger().addHandler(Stuck())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    signal.signal(number, hang if number != signal.SIGHUP else lambda *_: None)
last_resort.start()
threading.Thread(target=hang).start()
os.kill(os.getpid(), int(sys.argv[1]))
threading.Event().wait(1)
print("still there", flush=True)
os._exit(3)
"""


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 0, "a line\n"),
        (signal.SIGINT, 1, "a line\n"),
        (signal.SIGQUIT, 1, "a line\n"),
        (signal.SIGHUP, 3, "still there\n"),
    ],
)
def test_a_signal_that_asks_for_the_end_is_heard(number: int, code: int, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (code, said)

"""A process that has been asked to end does end, whatever its threads and its log do."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, os, sys, threading
from device_status_worker import last_resort

class Stuck(logging.Handler):
    def emit(self, record):
        print("a line", flush=True)
        threading.Event().wait()

last_resort.ORDERLY_END = 0.2
last_resort._LOG_TAKES = 0.2
logging.getLogger().addHandler(Stuck())
stop = threading.Event()
last = last_resort.LastResort(stop)
last.start()
last.exit_code = 7
threading.Thread(target=threading.Event().wait).start()
if sys.argv[1] == "stop":
    stop.set()
threading.Event().wait(float(sys.argv[2]))
print("still there", flush=True)
os._exit(3)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_ends_a_process_whose_threads_and_whose_log_hang() -> None:
    ended = run("stop", "600")
    assert (ended.returncode, ended.stdout) == (7, "a line\n")


def test_without_a_stop_it_lets_the_process_be() -> None:
    ended = run("go on", "1")
    assert (ended.returncode, ended.stdout) == (3, "still there\n")

"""`make demo`: all comes out as it must, in a pipe and on a terminal, and nothing is left running."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from device_status_worker.demo.report import busiest_second
from device_status_worker.demo.sample import COLUMNS, make_sample
from device_status_worker.demo.system import WORKERS
from device_status_worker.local import LocalCognito
from support.terminal import read_to_the_end
from support.waiting import eventually

DEMO = [sys.executable, "-m", "device_status_worker.demo"]
QUICK = ["--devices", "60", "--quota", "100"]


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> set[int]:
    """Every process that `pid` started, and they did."""
    try:
        children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return children.union(*(descendants(child) for child in children))


def nothing_left(started: set[int]) -> Callable[[], bool]:
    """For `eventually`."""
    return lambda: not any(alive(pid) for pid in started)


@pytest.fixture(scope="module")
def in_a_pipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A whole demo whose output goes to a pipe, and its folder."""
    folder = tmp_path_factory.mktemp("demo")
    # A setting that would break it, were it not kept out.
    environment = os.environ | {"DEVICE_STATUS_BROKER_URL": "redis://127.0.0.1:1/0", "AWS_PROFILE": "none"}
    ended = subprocess.run(
        [*DEMO, *QUICK, "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=environment,
    )
    return ended, folder


class TestInAPipe:
    def test_every_device_has_its_status(
        self, in_a_pipe: tuple[subprocess.CompletedProcess[str], Path]
    ) -> None:
        ended, _ = in_a_pipe
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "all 60 devices have the status ordered" in ended.stdout
        assert "WRONG" not in ended.stdout

    def test_shows_progress_outcomes_and_dead_letters_by_reason(
        self, in_a_pipe: tuple[subprocess.CompletedProcess[str], Path]
    ) -> None:
        output = in_a_pipe[0].stdout
        assert re.search(r"commands with an outcome: (\d+) of \1\n", output)
        for outcome in ("succeeded", "expired", "dead_lettered"):
            assert re.search(rf"│ {outcome} +│ +[1-9]", output), outcome
        for code in ("UserNotFoundException", "ResourceNotFoundException", "TooOld"):
            assert re.search(rf"│ {code} +│ +[1-9]", output), code

    def test_bad_lines_are_told_with_their_number(
        self, in_a_pipe: tuple[subprocess.CompletedProcess[str], Path]
    ) -> None:
        ended, _ = in_a_pipe
        told = re.findall(r"^line (\d+): ", ended.stderr, re.MULTILINE)
        assert len(told) == int(re.search(r"(\d+) that are no command", ended.stdout).group(1))  # type: ignore[union-attr]

    def test_has_neither_colours_nor_tracebacks(
        self, in_a_pipe: tuple[subprocess.CompletedProcess[str], Path]
    ) -> None:
        output = in_a_pipe[0].stdout + in_a_pipe[0].stderr
        assert "\x1b" not in output
        assert "Traceback" not in output

    def test_two_workers_shared_the_work_and_logged_no_username(
        self, in_a_pipe: tuple[subprocess.CompletedProcess[str], Path]
    ) -> None:
        logs = [log.read_text() for log in in_a_pipe[1].glob("worker-*.log")]
        assert len(logs) == WORKERS
        for log in logs:
            assert ": succeeded" in log
            assert "user-0" not in log


class TestTheSample:
    def test_has_one_of_each_kind(self) -> None:
        with LocalCognito() as cognito:
            sample = make_sample(cognito, 300)
        assert all(sample.kinds.values())
        assert len(sample.kinds) == 8
        assert sum(sample.kinds.values()) == len(sample.lines)
        assert 300 < len(sample.lines) < 1000
        users = {line[COLUMNS.index("username")] for line in sample.lines if len(line) == len(COLUMNS)}
        assert len(users) > 100

    def test_orders_a_change_of_every_device(self) -> None:
        with LocalCognito() as cognito:
            sample = make_sample(cognito, 60)
            for (username, key), ordered in sample.devices.items():
                assert cognito.device_status(sample.pool_id, username, key) != ordered


class TestCtrlC:
    @pytest.mark.parametrize("shown", ["Starting", "device-status import", "device-status import .*outcome"])
    def test_ends_everything_without_a_traceback(self, shown: str, tmp_path: Path) -> None:
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [*DEMO, "--folder", str(tmp_path)])
        output = b""
        started: set[int] = set()
        give_up_at = time.monotonic() + 60
        while not re.search(shown.encode(), output, re.DOTALL):
            assert time.monotonic() < give_up_at
            output += os.read(terminal, 65536)
            started |= descendants(pid)
        os.write(terminal, b"\x03")
        output += read_to_the_end(terminal)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 130
        assert b"stopped" in output
        assert b"Traceback" not in output, output.decode()
        eventually(nothing_left(started), "all that the demo started has ended", 10)


def test_a_killed_demo_leaves_nothing_running(tmp_path: Path) -> None:
    demo = subprocess.Popen([*DEMO, "--folder", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("$ "):
            break
    started = descendants(demo.pid)
    assert len(started) >= WORKERS + 1
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    demo.stdout.close()
    eventually(nothing_left(started), "all that the demo started has ended", 20)


@pytest.mark.parametrize("options", [["--devices", "0"], ["--quota", "many"]])
def test_wrong_options_are_told(options: list[str]) -> None:
    ended = subprocess.run([*DEMO, *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "must be a number from 1" in ended.stderr


@pytest.mark.parametrize(
    ("times", "most"), [([0.0], 1), ([0.0, 0.5, 1.0], 2), ([0.0, 0.9, 1.1, 1.2, 1.8, 3.0], 4)]
)
def test_the_busiest_second_may_begin_anywhere(times: list[float], most: int) -> None:
    assert busiest_second(times) == most

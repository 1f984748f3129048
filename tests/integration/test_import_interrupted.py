"""Promises of an import that stops in the middle: it says how far it got, and the same again goes on."""

from __future__ import annotations

import array
import fcntl
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from device_status import Lane
from device_status.ledger import Ledger
from support.files import HEADER, row, text_of
from support.servers import HOST, Valkey
from support.terminal import COMMAND, run
from support.waiting import eventually

BATCH = 1000
"""Commands that are entered at once."""
SO_FAR = re.compile(
    r"Lines read: (\d+); accepted: (\d+), repeated: (\d+), refused: (\d+), in doubt: (\d+); "
    r"the same import with --import-id one goes on and repeats nothing$"
)


def so_far(line: str) -> tuple[int, ...]:
    """Lines read, and what became of them: accepted, repeated, refused, in doubt. They add up."""
    match = SO_FAR.search(line)
    assert match, line
    read, *fates = map(int, match.groups())
    assert read == sum(fates)
    return (read, *fates)


class Import:
    """A `device-status import -` that is given its lines little by little."""

    def __init__(self, environment: dict[str, str], source: int) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "import", "-", "--import-id", "one"],
            env=environment,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[int, str, list[str]]:
        """Exit code, standard output, lines on standard error."""
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output, errors.splitlines()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reads, writes = os.pipe()
    yield reads, writes
    for end in (reads, writes):
        with suppress(OSError):
            os.close(end)


def lines(first: int, last: int) -> bytes:
    return text_of([row(number) for number in range(first, last)]).encode()


BEGINNING = text_of([HEADER, "bad"]).encode() + lines(0, BATCH)
MORE = lines(BATCH, BATCH + 900)
"""Not a batch, but more than is read ahead: once it is read, the batch before it is done."""


def is_read(source: int) -> Callable[[], bool]:
    """Whether nothing waits in a pipe or socket."""
    unread = array.array("i", [0])
    return lambda: fcntl.ioctl(source, termios.FIONREAD, unread) == 0 and unread[0] == 0


def has_entered(ledger: Ledger, count: int) -> Callable[[], bool]:
    return lambda: ledger.open_count()[Lane.BULK] == count


def all_again(environment: dict[str, str], content: bytes) -> str:
    """The same import, whole."""
    done = run(environment, "import", "-", "--import-id", "one", given=content)
    return done.stdout.splitlines()[1]


def test_ctrl_c_says_how_far_it_got(
    environment: dict[str, str], ledger: Ledger, pipe: tuple[int, int]
) -> None:
    reads, writes = pipe
    work = Import(environment, reads)
    os.write(writes, BEGINNING)
    os.write(writes, MORE)
    eventually(is_read(reads), "the lines are read")
    work.process.send_signal(signal.SIGINT)
    code, output, errors = work.end()
    assert (code, output, len(errors)) == (130, "", 3)
    assert errors[0] == "line 2: has 1 cell; the header has 5"
    assert so_far(errors[1])[1:4] == (BATCH, 0, 1)
    assert errors[2] == "device-status: interrupted"
    assert ledger.open_count()[Lane.BULK] == BATCH
    assert all_again(environment, BEGINNING + MORE) == "1901\t900\t1000\t1\t1\t0\t0"


def test_a_ledger_that_goes_says_how_far_it_got(
    environment: dict[str, str], valkey: Valkey, pipe: tuple[int, int]
) -> None:
    reads, writes = pipe
    work = Import(environment, reads)
    os.write(writes, BEGINNING)
    os.write(writes, MORE)
    eventually(is_read(reads), "the lines are read")
    valkey.freeze()
    try:
        os.close(writes)
        code, output, errors = work.end()
    finally:
        valkey.thaw()
    assert (code, output, len(errors)) == (4, "", 2)
    assert so_far(errors[1]) == (1901, BATCH, 0, 1, 900)
    counts = all_again(environment, BEGINNING + MORE).split("\t")
    # Whether those in doubt were entered is for the ledger to say.
    assert int(counts[1]) + int(counts[2]) == 1900
    assert int(counts[2]) >= BATCH


def test_input_that_breaks_off_says_how_far_it_got(environment: dict[str, str], ledger: Ledger) -> None:
    """A connection that is reset is an error of reading, and not the end of the file."""
    with socket.create_server((HOST, 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, client:
        work = Import(environment, client.fileno())
        ours.sendall(BEGINNING + lines(BATCH, BATCH + 7))
        eventually(has_entered(ledger, BATCH), "the first batch is entered")
        eventually(is_read(client.fileno()), "the lines are read")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ours.close()
        code, output, errors = work.end()
    assert (code, output, len(errors)) == (1, "", 2)
    assert "the file can't be read past line 1009: Connection reset by peer" in errors[1]
    assert so_far(errors[1]) == (BATCH + 8, BATCH, 0, 1, 7)


def waits_for_input(process: subprocess.Popen[str]) -> bool:
    """Whether it sleeps in a system call whose first argument is its standard input."""
    return Path(f"/proc/{process.pid}/syscall").read_text().split()[1:2] == ["0x0"]


def test_a_slow_pipe_that_does_not_block_is_read_to_its_end(
    environment: dict[str, str], pipe: tuple[int, int]
) -> None:
    """As a program leaves it that reads it without blocking, node for one."""
    reads, writes = pipe
    os.set_blocking(reads, False)
    work = Import(environment, reads)
    os.write(writes, text_of([HEADER, "bad"]).encode())
    eventually(is_read(reads), "the first lines are read")
    eventually(lambda: work.process.poll() is not None or waits_for_input(work.process), "it waits for more")
    assert work.process.poll() is None
    os.write(writes, lines(0, 7))
    os.close(writes)
    code, output, errors = work.end()
    assert (code, len(errors)) == (1, 1)
    assert output.splitlines()[1] == "8\t7\t0\t1\t1\t0\t0"


def test_standard_input_that_is_closed_is_one_line(environment: dict[str, str]) -> None:
    for arguments in ("import -", "incident open X --user-pool-id us-east-1_X --users -"):
        done = subprocess.run(
            ["sh", "-c", f"{COMMAND} {arguments} <&-"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == ["device-status: -: standard input is closed"]


@pytest.mark.parametrize("source", ["/proc/self/mem", "/proc/self"])
def test_a_file_that_gives_nothing_is_one_line(source: str, environment: dict[str, str]) -> None:
    done = run(environment, "import", source)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"{source}: can't be read: " in line


def test_a_disk_that_is_full_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """What comes after a stray quote may be kept on disk until it is known that the quote stays open."""
    file = tmp_path / "devices.csv"
    rows = [row(number, '"15 laptop' if number == 1500 else "lost") for number in range(20_000)]
    file.write_text(text_of([HEADER, *rows]))
    done = subprocess.run(
        [COMMAND, "import", file, "--import-id", "one"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "the folder for temporary files can't be used: File too large; TMPDIR names another" in line
    read, *fates = so_far(line)
    assert fates[:3] == [BATCH, 0, 0]
    assert read > 1500
    assert run(environment, "import", str(file), "--import-id", "one").stdout.splitlines()[1] == (
        "20000\t18999\t1000\t1\t1\t0\t0"
    )

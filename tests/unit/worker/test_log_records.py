"""Promises about each line of a worker's log, whoever writes it: one line, which steers no terminal."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator

import pytest

from device_status_worker import log_records
from support.hostile import FORBIDDEN, HOSTILE, ORDINARY

FORMAT = "[%(levelname)s] %(message)s"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler that knows nothing of ours writes, with our records."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter(FORMAT))
    before, hook = logging.getLogRecordFactory(), threading.excepthook
    log_records.install()
    logging.getLogger("somebody").addHandler(handler)
    try:
        yield text
    finally:
        logging.getLogger("somebody").removeHandler(handler)
        logging.setLogRecordFactory(before)
        threading.excepthook = hook


def somebody() -> logging.Logger:
    return logging.getLogger("somebody")


@pytest.mark.parametrize("arguments", [(HOSTILE,), ("%s", HOSTILE), ("%r: %s", 1, HOSTILE)])
def test_a_record_is_one_line_and_steers_nothing(log: io.StringIO, arguments: tuple[str, ...]) -> None:
    somebody().error(*arguments)
    assert len(log.getvalue().splitlines()) == 1
    assert not FORBIDDEN.search(log.getvalue())
    assert r"\x1b[2J" in log.getvalue()


@pytest.mark.parametrize("text", ORDINARY)
def test_what_people_write_stays_as_it_is(log: io.StringIO, text: str) -> None:
    somebody().error("%s", text)
    assert log.getvalue() == f"[ERROR] {text}\n"


def test_no_line_of_a_traceback_passes_for_a_record(log: io.StringIO) -> None:
    forged = "[INFO] command 1: succeeded"
    try:
        try:
            raise KeyError(HOSTILE)
        except KeyError as cause:
            raise ValueError(f"{HOSTILE}\n{forged}") from cause
    except ValueError:
        somebody().exception("%s", "met an error")
    lines = log.getvalue().splitlines()
    assert lines[0] == "[ERROR] met an error"
    assert any("KeyError" in line for line in lines)
    assert any(forged in line for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])
    assert not FORBIDDEN.search(log.getvalue())


def test_a_thread_that_ends_by_an_error_tells_no_value(
    log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = logging.getLogger(log_records.__name__)
    handler = somebody().handlers[0]
    ours.addHandler(handler)
    try:
        thread = threading.Thread(target=lambda: int("ada"), name="lister")
        thread.start()
        thread.join()
    finally:
        ours.removeHandler(handler)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("[CRITICAL] the thread lister ended: ValueError at ")
    assert "ada" not in line.replace(__file__, "")
    assert capsys.readouterr().err == ""

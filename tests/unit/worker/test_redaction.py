"""Promises about the log: devices under a pseudonym, and no library that tells a request."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_status import Lane
from device_status.ledger import Ledger
from device_status_worker.cognito import Cognito
from device_status_worker.handle import Worker, handle
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.redaction import _LOG_WHOLE_REQUESTS, Pseudonyms, place, quiet_libraries
from support import device, make_command
from support.servers import HOST, free_port


class TestPseudonyms:
    def test_they_are_the_same_on_every_worker(self, ledger: Ledger, redis_url: str) -> None:
        name = Pseudonyms(ledger).of(make_command())
        assert len(name) == 16
        assert Pseudonyms(Ledger(redis_url)).of(make_command()) == name

    def test_they_tell_devices_and_users_apart(self, ledger: Ledger) -> None:
        pseudonyms = Pseudonyms(ledger)
        commands = [make_command(), make_command(device_key=device(1)), make_command(username="bob")]
        assert len({pseudonyms.of(command) for command in commands}) == 3

    def test_without_the_key_nobody_can_try_usernames(self, ledger: Ledger) -> None:
        before = Pseudonyms(ledger).of(make_command())
        ledger.redis.flushall()
        after = Pseudonyms(ledger).of(make_command())
        assert before != after
        assert make_command().device_hash[:16] not in (before, after)

    def test_a_ledger_that_is_away_stops_no_log_line(self) -> None:
        nowhere = Ledger(f"redis://{HOST}:{free_port()}/0")
        assert Pseudonyms(nowhere).of(make_command()) == "-" * 16


def test_the_place_of_an_error_names_where_it_was_raised_and_no_value() -> None:
    try:
        int("ada")
    except ValueError as error:
        found = place(error)
    file, line = found.rsplit(":", 1)
    assert Path(file) == Path(__file__)
    assert int(line) > 0
    assert "ada" not in found.replace(file, "")
    assert place(ValueError("ada")) == "?"


@pytest.fixture
def _levels() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOG_WHOLE_REQUESTS]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("_levels")
class TestLibraries:
    def test_a_level_that_is_higher_stays(self) -> None:
        logging.getLogger("kombu").setLevel(logging.ERROR)
        quiet_libraries()
        assert logging.getLogger("kombu").level == logging.ERROR
        assert logging.getLogger("botocore").level >= logging.INFO

    @pytest.mark.parametrize(
        "fault", [None, Fault.reset(), Fault.html(503), Fault.error("UserNotFoundException")]
    )
    def test_a_request_at_level_debug_tells_neither_user_nor_device(
        self, fault: Fault | None, worker: Worker, cognito: LocalCognito, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = cognito.create_pool()
        username = "grace.hopper"
        cognito.add_user(pool, username)
        command = make_command(
            user_pool_id=pool, username=username, device_key=cognito.add_device(pool, username)
        )
        if fault:
            cognito.faults.add(fault)
        with caplog.at_level(logging.DEBUG):
            quiet_libraries()
            fresh = Worker(worker.settings, worker.ledger, worker.gates, Cognito(1), worker.publisher)
            handle(command, Lane.ROUTINE, fresh)
        assert len(cognito.requests) == 1
        assert username not in caplog.text
        assert command.device_key not in caplog.text

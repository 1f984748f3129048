"""Promises about errors: whatever is given or answered, a caller meets a DeviceStatusError of one line, which
says whether the call may be repeated and shows nothing personal.
"""

from __future__ import annotations

import re
import socket
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import device_status
from device_status import (
    DeadLetters,
    DeviceStatusCommand,
    DeviceStatusError,
    Incidents,
    InvalidCommandError,
    LedgerUnavailableError,
    Producer,
    PublishError,
    Settings,
    SettingsError,
    load_settings,
)
from device_status.ledger import Ledger
from support import DEVICE_KEY, POOL, USERNAME, make_command, wire_object
from support.servers import HOST, Valkey, free_port

ROOT = Path(__file__).parents[2]

any_text = st.text() | st.text(st.sampled_from("a0:-\ud800\udcff\0\n\x1b\u202e"), min_size=1)
"""Lone surrogates, too: file names and command lines that are not UTF-8 bring them."""
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | any_text
    | st.binary()
    | st.datetimes()
    | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(list(DeviceStatusCommand.model_fields))


STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode whose characters end a line, steer a terminal, hide, or are none."""


def problem(call: Callable[[], object]) -> DeviceStatusError | None:
    """The error of a call, which must be one of ours and fit on a line; None if it succeeded."""
    error = None
    try:
        call()
    except DeviceStatusError as raised:
        error = raised
    if error:
        text = str(error)
        assert text
        assert not {unicodedata.category(each) for each in text} & STEERING, ascii(text)
        assert USERNAME not in text
        assert DEVICE_KEY not in text
        assert isinstance(error.retryable, bool)
    return error


@pytest.fixture(scope="module")
def real(valkey: Valkey) -> Settings:
    """On the session's server; what stands there does not matter."""
    return load_settings(broker_url=valkey.url)


class TestWhateverIsGiven:
    @given(changes=st.dictionaries(names | any_text, values, min_size=1, max_size=3))
    def test_as_fields(self, changes: dict[str, Any], real: Settings) -> None:
        producer = Producer(real)
        fields = wire_object() | changes
        error = problem(lambda: producer.enqueue(fields))
        assert error is None or not error.retryable
        assert problem(lambda: producer.enqueue_many([fields])) is None
        command = make_command().model_copy(update=changes)
        problem(lambda: producer.enqueue(command))
        assert problem(lambda: producer.enqueue_many([command])) is None

    @given(command=values)
    def test_as_a_command(self, command: Any, real: Settings) -> None:
        producer = Producer(real)
        error = problem(lambda: producer.enqueue(command))
        assert isinstance(error, InvalidCommandError)
        report = producer.enqueue_many([command])
        assert len(report.refused) == 1

    @given(commands=st.none() | st.integers() | st.floats() | st.datetimes())
    def test_as_many(self, commands: Any, real: Settings) -> None:
        assert isinstance(problem(lambda: Producer(real).enqueue_many(commands)), InvalidCommandError)

    @given(lane=values)
    def test_as_a_lane(self, lane: Any, real: Settings) -> None:
        problem(lambda: Producer(real).enqueue(wire_object(), lane=lane))

    @given(fields=st.dictionaries(names | any_text, values, max_size=3))
    def test_to_the_class_of_commands(self, fields: dict[str, Any]) -> None:
        problem(lambda: DeviceStatusCommand(**fields))

    @given(name=any_text)
    def test_as_an_id(self, name: str, real: Settings) -> None:
        letters = DeadLetters(real)
        for call in (Producer(real).lookup, letters.show, letters.redrive, Incidents(real).progress):
            error = problem(lambda call=call: call(name))  # type: ignore[misc]
            assert error is None or not error.retryable

    def test_as_half_a_character(self, real: Settings) -> None:
        letters, incidents = DeadLetters(real), Incidents(real)
        for call in (
            lambda: Producer(real).lookup("\ud800"),
            lambda: letters.show("\ud800"),
            lambda: incidents.open("INC-2", user_pool_id=POOL, reason="\ud800"),
        ):
            assert isinstance(problem(call), InvalidCommandError)

    @given(
        texts=st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("reason", "requested_by", "status"), any_text)
        )
    )
    def test_to_an_incident(self, texts: dict[str, Any], real: Settings) -> None:
        error = problem(lambda: Incidents(real).open("INC-1", user_pool_id=POOL, **texts))
        assert error is None or not error.retryable

    @given(
        given=st.dictionaries(st.sampled_from(list(Settings.model_fields)), values, min_size=1, max_size=3)
    )
    def test_as_settings(self, given: dict[str, Any]) -> None:
        for make in (load_settings, Settings, Producer):
            error = problem(lambda make=make: make(**given))  # type: ignore[misc]
            assert error is None or isinstance(error, SettingsError)

    @pytest.mark.parametrize("targets", ["[" * 100_000, '{"a":' * 100_000, "x" * 5000, "\0", ROOT])
    def test_as_targets(self, targets: Any) -> None:
        assert isinstance(problem(lambda: load_settings(targets=str(targets))), SettingsError)


class Gibberish:
    """A server that answers each connection with the same bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server((HOST, 0), backlog=50)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(self.answer)
                # Until the client has gone, or has sent more: a reset could take the answer away from it.
                connection.settimeout(0.2)
                while connection.recv(65536):
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def gibberish() -> Iterator[Gibberish]:
    server = Gibberish()
    yield server
    server.close()


ANSWERS = [
    b"",
    b"\0",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"*-1\r\n",
    b"$abc\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"+\xff\xfe\r\n",
    b":x\r\n",
    b"%1\r\n",
    b"AMQP\x00\x00\x09\x01",
    b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0a\x00\x09\xff\xff\xff\xff\xff\xff\xce",
    b"\x01\x00\x00\x00\x00\x00\x04\x00\x63\x00\x63\xce",
    b"\x09" * 64,
]


class TestWhateverIsAnswered:
    @pytest.mark.parametrize(
        ("scheme", "answer"),
        [
            *product(("redis", "amqp"), ANSWERS),
            *product(("sentinel", "rediss", "amqps"), (ANSWERS[0], ANSWERS[-1])),
        ],
    )
    def test_by_a_broker(self, scheme: str, answer: bytes, gibberish: Gibberish, real: Settings) -> None:
        self.check_broker(scheme, answer, gibberish, real)

    @given(answer=st.binary(max_size=40))
    @hypothesis_settings(max_examples=8)
    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_by_any_broker(self, scheme: str, answer: bytes, gibberish: Gibberish, real: Settings) -> None:
        self.check_broker(scheme, answer, gibberish, real)

    def check_broker(self, scheme: str, answer: bytes, gibberish: Gibberish, real: Settings) -> None:
        gibberish.answer = answer
        url = f"{scheme}://user:hunter2@{HOST}:{gibberish.port}/"
        producer = Producer(broker_url=url, ledger_url=real.broker_url)
        error = problem(lambda: producer.enqueue(make_command()))
        assert isinstance(error, PublishError)
        assert error.retryable
        assert "hunter2" not in str(error)

    @pytest.mark.parametrize(
        ("scheme", "answer"),
        [*product(("redis",), ANSWERS), *product(("sentinel", "rediss"), (ANSWERS[0], ANSWERS[-1]))],
    )
    def test_by_a_ledger(self, scheme: str, answer: bytes, gibberish: Gibberish, real: Settings) -> None:
        gibberish.answer = answer
        url = f"{scheme}://user:hunter2@{HOST}:{gibberish.port}/0"
        producer = Producer(broker_url=real.broker_url, ledger_url=url)
        for call in (lambda: producer.enqueue(make_command()), lambda: producer.lookup("x")):
            error = problem(call)
            assert isinstance(error, LedgerUnavailableError)
            assert error.retryable
            assert "hunter2" not in str(error)

    @pytest.mark.parametrize("host", ["a" * 64, "a..b", "nowhere.invalid", "ä" * 60])
    @pytest.mark.parametrize("scheme", ["redis", "sentinel", "amqp"])
    def test_of_a_host_that_has_no_address(self, scheme: str, host: str, real: Settings) -> None:
        url = f"{scheme}://{host}:{free_port()}/"
        error = problem(lambda: Producer(broker_url=url, ledger_url=real.broker_url).enqueue(make_command()))
        assert isinstance(error, PublishError | SettingsError)
        if scheme != "amqp":
            error = problem(lambda: Producer(broker_url=real.broker_url, ledger_url=url).lookup("x"))
            assert isinstance(error, LedgerUnavailableError | SettingsError)

    @pytest.mark.parametrize("field", ["state", "lane", "attempts", "entered_at"])
    @pytest.mark.parametrize("value", ["of-a-newer-version", None])
    def test_by_a_ledger_that_another_version_wrote(
        self, field: str, value: str | None, producer: Producer, ledger: Ledger
    ) -> None:
        command = make_command()
        producer.enqueue(command)
        key = f"device-status:command:{command.idempotency_key}"
        if value is None:
            ledger.redis.hdel(key, field)
        else:
            ledger.redis.hset(key, field, value)
        for call in (lambda: producer.lookup(command.command_id), lambda: producer.enqueue(command)):
            error = problem(call)
            assert error is None or not error.retryable

    def test_by_a_ledger_whose_keys_are_of_something_else(self, producer: Producer, ledger: Ledger) -> None:
        command = make_command()
        ledger.redis.set(f"device-status:command:{command.idempotency_key}", "x")
        for call in (lambda: producer.lookup(command.command_id), lambda: producer.enqueue(command)):
            error = problem(call)
            assert error is not None
            assert not error.retryable


RETRYABLE = {
    "DeviceStatusError": False,
    "IdempotencyConflictError": False,
    "IncidentError": False,
    "InvalidCommandError": False,
    "LedgerUnavailableError": True,
    "NotRedrivableError": False,
    "PublishError": True,
    "SettingsError": False,
    "UnknownDeadLetterError": False,
}


class TestWhetherToRepeat:
    def test_each_public_error_says_it(self) -> None:
        public = {
            name: error
            for name in sorted(device_status.__all__)
            if isinstance(error := getattr(device_status, name), type)
            and issubclass(error, DeviceStatusError)
        }
        assert {name: error.retryable for name, error in public.items()} == RETRYABLE

    def test_the_documentation_says_the_same_of_each(self) -> None:
        text = (ROOT / "docs" / "publishing.md").read_text()
        rows = re.findall(r"^\| `(\w+Error)`[^|]*\|.*\| (yes|no) \|", text, re.MULTILINE)
        documented = {name: answer == "yes" for name, answer in rows}
        assert documented == RETRYABLE

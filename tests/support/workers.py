"""Worker processes, the servers they work with, and raw messages to send them."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import redis

from device_status import DeadLetter, DeadLetters, Lane, Producer, Record, Settings, load_settings
from device_status.ledger import Ledger
from device_status.publisher import queue_name
from device_status_worker.local import LocalCognito, Request
from device_status_worker.local.guard import Guard
from support.commands import wire_object
from support.servers import start_valkey

T = TypeVar("T")

START_TIMEOUT = 40.0
STOP_TIMEOUT = 30.0


def eventually(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """The first true value of `condition`, or an error that says what did not come about."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class WorkerProcess:
    """`celery -A device_status_worker worker`; it ends with this process, however that ends."""

    def __init__(
        self, environment: dict[str, str], log: Path, *, level: str = "INFO", lanes: Iterable[Lane] = ()
    ) -> None:
        self._environment = environment
        self._log = log
        self._options = ["-n", f"{log.stem}@test", "--loglevel", level]
        if names := ",".join(queue_name(lane) for lane in lanes):
            self._options += ["-Q", names]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None

    def start(self) -> Self:
        """Start it; `wait_until_ready` returns when it takes messages."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "device_status_worker",
                    "worker",
                    *self._options,
                ],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = Guard()
        self._guard.arm(self._process.pid)
        return self

    def wait_until_ready(self) -> Self:
        """Return when it consumes."""

        def is_ready() -> bool:
            assert self.is_alive, f"the worker ended:\n{self.output}"
            return " ready." in self.output

        eventually(is_ready, "the worker is ready", START_TIMEOUT)
        return self

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        code = self._process.wait(STOP_TIMEOUT)
        self._disarm()
        return code

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._disarm()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr so far."""
        return self._log.read_text(errors="backslashreplace") if self._log.exists() else ""

    def _disarm(self) -> None:
        if self._guard is not None:
            self._guard.disarm()
            self._guard = None


class Site:
    """A Valkey, a Cognito, and the workers that were started here; all ends with the context."""

    def __init__(self, **settings: str) -> None:
        """`settings` are DEVICE_STATUS_* without the prefix, for the workers."""
        self._settings = settings
        self._exits = ExitStack()
        self.workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._folder = Path(exits.enter_context(TemporaryDirectory(prefix="device-status-workers-")))
            self.valkey = exits.enter_context(start_valkey())
            self.cognito = exits.enter_context(LocalCognito())
            self.client = exits.enter_context(
                closing(redis.Redis.from_url(self.valkey.url, decode_responses=True))
            )
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @cached_property
    def settings(self) -> Settings:
        """As the workers have them."""
        return load_settings(broker_url=self.valkey.url, **self._settings)

    @cached_property
    def producer(self) -> Producer:
        """A producer for the workers here."""
        return Producer(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """The workers' ledger."""
        return Ledger(self.settings.ledger)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """What the workers buried."""
        return DeadLetters(self.settings)

    def start_worker(self, *, level: str = "INFO", lanes: Iterable[Lane] = ()) -> WorkerProcess:
        """Start one more; it is not ready yet."""
        environment = (
            os.environ
            | self.cognito.environment()
            | {f"DEVICE_STATUS_{name.upper()}": value for name, value in self._settings.items()}
            | {"DEVICE_STATUS_BROKER_URL": self.valkey.url}
        )
        log = self._folder / f"worker{len(self.workers)}.log"
        worker = WorkerProcess(environment, log, level=level, lanes=lanes)
        self.workers.append(worker)
        self._exits.callback(worker.kill)
        return worker.start()

    def restart_dead_workers(self) -> None:
        """So that a test that ended a worker is the only one to fail by it."""
        for worker in self.workers:
            if not worker.is_alive:
                worker.start()
                worker.wait_until_ready()

    def make_pool(self, *users: str, region: str = "us-east-1") -> str:
        """A new pool with these users."""
        pool = self.cognito.create_pool(region)
        for user in users:
            self.cognito.add_user(pool, user)
        return pool

    def make_devices(self, pool: str, count: int, username: str) -> list[dict[str, Any]]:
        """New devices of one user, as the fields that a command for one has; all are `remembered`."""
        return [
            wire_object(
                user_pool_id=pool, username=username, device_key=self.cognito.add_device(pool, username)
            )
            for _ in range(count)
        ]

    def make_command(self, **overrides: Any) -> dict[str, Any]:
        """A command for a new device of a new user in a new pool; see `wire_object`."""
        pool, username = self.make_pool(), overrides.pop("username", f"user-{uuid.uuid4()}")
        self.cognito.add_user(pool, username)
        (fields,) = self.make_devices(pool, 1, username)
        return fields | {"command_id": str(uuid.uuid4()), **overrides}

    def requests_for(self, user_pool_id: str) -> list[Request]:
        """The requests that reached the pool."""
        return [request for request in self.cognito.requests if request.user_pool_id == user_pool_id]

    def outcome(self, command_id: str, seconds: float = 20.0) -> Record:
        """The command's record, once it has an outcome."""

        def found() -> Record | None:
            record = self.producer.lookup(command_id)
            return record if record and record.outcome else None

        record = eventually(found, f"{command_id} has an outcome", seconds)
        assert record is not None
        return record

    def outcomes(self, command_ids: Iterable[str], seconds: float = 30.0) -> list[Record]:
        """The records, once all have an outcome."""
        deadline = time.monotonic() + seconds
        return [self.outcome(each, max(0.1, deadline - time.monotonic())) for each in command_ids]

    def push(self, raw: bytes, lane: Lane = Lane.ROUTINE) -> None:
        """Put raw bytes in a queue."""
        self.client.lpush(queue_name(lane), raw)

    def letter_with(self, marker: str) -> DeadLetter | None:
        """The dead letter of a message that is no command whose raw text holds `marker`."""
        # Without NULs, so that it is found in UTF-16 as well.
        letters = self.dead_letters.list()
        return next((each for each in letters if marker in (each.raw or "").replace("\0", "")), None)

    def messages_unacknowledged(self) -> int:
        """How many messages are with a worker."""
        return int(self.client.hlen("unacked"))


def body_of(keywords: dict[str, Any], embedded: dict[str, Any] | None = None) -> bytes:
    """The body of a Celery message."""
    return json.dumps([[], keywords, {} if embedded is None else embedded]).encode()


def envelope(
    body: bytes | str,
    *,
    task: str | None = "device_status.apply",
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    without: Iterable[str] = (),
    **overrides: Any,
) -> bytes:
    """A Celery message as it lies in Redis; a header or property of `...` is left out.

    Parameters:
        body: bytes travel as base64, text as it is.
        without: fields of the envelope to leave out.
    """
    as_base64 = isinstance(body, bytes)
    message = {
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": str(uuid.uuid4()), **(headers or {})},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue_name(Lane.ROUTINE)},
            "body_encoding": "base64" if as_base64 else None,
            **(properties or {}),
        },
        **overrides,
    }
    for part in ("headers", "properties"):
        message[part] = {name: value for name, value in message[part].items() if value is not ...}
    return json.dumps({name: value for name, value in message.items() if name not in without}).encode()


@dataclass(frozen=True)
class BadMessage:
    """A message that can't be run."""

    raw: bytes
    code: str
    """Of its dead letter."""
    kept: bytes
    """What its dead letter holds: the message, its body or its command, whichever could be read."""


def _command(marker: str) -> dict[str, Any]:
    return wire_object(command_id=marker)


def _good(marker: str) -> bytes:
    return body_of({"command": _command(marker)})


def _unreadable(raw: bytes) -> BadMessage:
    return BadMessage(raw, "MalformedEnvelope", raw)


def _refused(body: bytes, **options: Any) -> BadMessage:
    return BadMessage(envelope(body, **options), "MalformedMessage", body)


def _no_command(fields: Any, code: str = "MalformedCommand") -> BadMessage:
    # Kept as the command alone, since in a message with many the others are done.
    return BadMessage(envelope(body_of({"command": fields})), code, json.dumps(fields).encode())


def _of_10_mb(marker: str) -> bytes:
    body = body_of({"command": wire_object(reason="x" * 10_000_000)})
    return f'{{"marker": "{marker}",'.encode() + envelope(body)[1:]


BAD_MESSAGES: Final[dict[str, Callable[[str], BadMessage]]] = {
    # What kombu can't take off Redis.
    "bad JSON": lambda m: _unreadable(f"{{{m}".encode()),
    "JSON that is no object": lambda m: _unreadable(json.dumps([m]).encode()),
    "bad UTF-8": lambda m: _unreadable(b'{"body": "\xff\xfe' + m.encode() + b'"}'),
    "bad base64": lambda m: _unreadable(envelope(f"***{m}", properties={"body_encoding": "base64"})),
    "no properties": lambda m: _unreadable(envelope(m, without=["properties"])),
    "no delivery tag": lambda m: _unreadable(envelope(m, properties={"delivery_tag": ...})),
    "no headers": lambda m: _unreadable(envelope(m, without=["headers"])),
    "no body": lambda m: _unreadable(envelope("", headers={"marker": m}, without=["body"])),
    "a deeply nested envelope": lambda m: _unreadable(f'{{"{m}": {"[" * 100_000}'.encode()),
    "10 MB": lambda m: _unreadable(_of_10_mb(m)),
    # What Celery can't run.
    "no id": lambda m: _refused(_good(m), headers={"id": ...}),
    "an id that is no text": lambda m: _refused(_good(m), headers={"id": {"a": 1}}),
    "no task": lambda m: _refused(_good(m), headers={"task": ...}),
    "unknown task": lambda m: _refused(_good(m), task="device_status.forget"),
    "body is no list of three": lambda m: _refused(json.dumps([m]).encode()),
    "body is no list": lambda m: _refused(json.dumps(_command(m)).encode()),
    "bad JSON in the body": lambda m: _refused(f"{{{m}".encode()),
    "bad UTF-8 in the body": lambda m: _refused(b"\xff\xfe\xff" + m.encode()),
    "a deeply nested body": lambda m: _refused(f'[[], {{"{m}": {"[" * 50_000}'.encode()),
    "pickle": lambda m: _refused(
        pickle.dumps([[], {"command": _command(m)}, {}]), **{"content-type": "application/x-python-serialize"}
    ),
    "unknown content type": lambda m: _refused(_good(m), **{"content-type": "text/x-nothing"}),
    "unknown encoding": lambda m: _refused(_good(m), **{"content-encoding": "klingon"}),
    "bad eta": lambda m: _refused(_good(m), headers={"eta": "tomorrow"}),
    "good eta": lambda m: _refused(_good(m), headers={"eta": datetime.now(UTC).isoformat()}),
    "bad expires": lambda m: _refused(_good(m), headers={"expires": {"at": "noon"}}),
    "a callback": lambda m: _refused(body_of({"command": _command(m)}, {"callbacks": [{"task": "x"}]})),
    "positional arguments": lambda m: _refused(json.dumps([[_command(m)], {}, {}]).encode()),
    "wrong arguments": lambda m: _refused(body_of({"commando": _command(m)})),
    "too many arguments": lambda m: _refused(body_of({"command": _command(m), "more": 1})),
    "a command that is a text": lambda m: _refused(body_of({"command": m})),
    "a mark of no lane": lambda m: _refused(body_of({"mark": 1, "lane": m}), task="device_status.mark"),
    # What is no command.
    "no status": lambda m: _no_command(wire_object(command_id=m, status=...)),
    "unknown field": lambda m: _no_command(wire_object(command_id=m, colour="red")),
    "half of a character": lambda m: _no_command(wire_object(command_id=m, **{"\ud800": 1})),
    "another schema": lambda m: _no_command(wire_object(command_id=m, schema_version=2), "UnsupportedSchema"),
}
"""By what is wrong with them: the table in FACTS.md and some more. Each holds the marker it is made with."""


def _nested(depth: int) -> Callable[[str], bytes]:
    def make(marker: str) -> bytes:
        body = body_of({"command": wire_object(command_id=marker, reason="deep")})
        return envelope(body.replace(b'"deep"', b"[" * depth + b"]" * depth))

    return make


TWO_FACED_MESSAGES: Final[dict[str, Callable[[str], bytes]]] = {
    "a byte order mark": lambda m: envelope(b"\xef\xbb\xbf" + _good(m)),
    "UTF-16": lambda m: envelope(_good(m).decode().encode("utf-16")),
    "UTF-16 without a mark": lambda m: envelope(_good(m).decode().encode("utf-16-le")),
    "a type of kombu's": lambda m: envelope(
        body_of({"command": wire_object(command_id=m, reason={"__type__": "bytes", "__value__": m})})
    ),
    "a type of kombu's as the command": lambda m: envelope(
        body_of({"command": {"__type__": "bytes", "__value__": m}})
    ),
    "a broken type of kombu's": lambda m: envelope(
        body_of({"command": wire_object(command_id=m, reason={"__type__": "datetime", "__value__": m})})
    ),
    "an unknown type of kombu's": lambda m: envelope(
        body_of({"command": wire_object(command_id=m, reason={"__type__": "x", "__value__": m})})
    ),
    "half of a character in a plain body": lambda m: envelope(f"\ud800{m}"),
    "compressed, but it is not": lambda m: envelope(_good(m), headers={"compression": "zlib"}),
    "an unknown compression": lambda m: envelope(_good(m), headers={"compression": "x"}),
    "a compression that is no text": lambda m: envelope(_good(m), headers={"compression": ["zlib"]}),
    "nothing that Celery needs": lambda m: envelope(body_of({"command": _command(m)}, {"get": None})),
    "no time of its own": lambda m: envelope(body_of({"command": _command(m)}, {"timelimit": None})),
    **{f"nested {depth} deep": _nested(depth) for depth in range(900, 1000, 10)},
}
"""Messages that our checks and Celery may read in different ways. Each holds the marker it is made with,
where it has a command as its id."""

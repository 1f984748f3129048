"""Raw messages as they lie in a broker: good ones, and ones that no worker can run."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from device_status import Lane
from device_status.publisher import queue_name
from support.commands import wire_object


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
    "half of a character in the delivery tag": lambda m: _unreadable(
        envelope(m, properties={"delivery_tag": f"\ud800{m}"})
    ),
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
    "more commands than a message may have": lambda m: _refused(
        body_of({"commands": [_command(m)] * 51}), task="device_status.apply_many"
    ),
    "an id of two lines": lambda m: _refused(_good(m), headers={"id": "one\ntwo"}),
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


def parts_of(raw: bytes) -> tuple[Any, Any, Any, bytes]:
    """Headers, content type, content encoding and body of an envelope, as Celery's consumer gets them."""
    message = json.loads(raw)
    body = message["body"]
    decoded = (
        base64.b64decode(body)
        if message["properties"].get("body_encoding")
        else body.encode("utf-8", "replace")
    )
    return message["headers"], message.get("content-type"), message.get("content-encoding"), decoded


def properties_of(raw: bytes) -> tuple[bytes, dict[str, Any]]:
    """Body and AMQP properties of the message that an envelope stands for."""
    headers, content_type, content_encoding, body = parts_of(raw)
    properties = {"content_type": content_type, "content_encoding": content_encoding}
    return body, {"application_headers": headers, "delivery_mode": 2, **properties}


def mutations(good: bytes, chance: Random, count: int) -> Iterator[bytes]:
    """Messages that are none, each made from a good one by one change of its bytes or fields."""
    values: list[Any] = [None, True, -1, 1e300, "", "x" * 1000, "\ud800", [], [[]], {}, {"a": {"b": []}}]
    for _ in range(count):
        message = json.loads(good)
        # Its own, or it would pass for one that is delivered again.
        message["properties"]["delivery_tag"] = chance.randbytes(16).hex()
        match chance.randrange(5):
            case 0:  # Cut short.
                yield good[: chance.randrange(1, len(good) - 1)]
            case 1:  # A byte that stands nowhere in JSON.
                at = chance.randrange(len(good))
                yield good[:at] + chance.choice([b"\x00", b"\xff", b"\x1b"]) + good[at + 1 :]
            case 2:  # Noise.
                yield chance.randbytes(chance.randrange(1, 500))
            case 3:  # A field that the worker needs, of another kind.
                part, name = chance.choice(
                    [
                        (message, "headers"),
                        (message, "properties"),
                        (message, "content-type"),
                        (message["headers"], "task"),
                    ]
                )
                part[name] = chance.choice(values)
                yield json.dumps(message).encode()
            case _:  # A body that is no command.
                message["body"] = base64.b64encode(json.dumps(chance.choice(values)).encode()).decode()
                yield json.dumps(message).encode()

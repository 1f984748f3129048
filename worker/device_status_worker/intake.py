"""Keeps messages that are no command out of Celery's way, and in the dead letters.

Plain Celery stops, loops or deletes what it can't read. Here every message is checked before Celery
sees it: its envelope by the broker connection (`transport.py`), its headers and body by the consumer
(`consumer.py`), its commands by the task (`accept`). What fails is buried with its raw bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from device_status.command import SCHEMA_VERSION, DeviceStatusCommand, Lane, parse_command
from device_status.errors import InvalidCommandError
from device_status.ledger import Ledger
from device_status.publisher import APPLY, APPLY_MANY, MARK, MOST_COMMANDS_A_MESSAGE, queue_name

logger = logging.getLogger(__name__)

MOST_BODY: Final = 256 * 1024
"""Bytes of a message's body."""
MOST_ENVELOPE: Final = 2 * MOST_BODY
"""Bytes of a whole message: base64 adds a third, headers some more."""
MOST_LEVELS: Final = 16
"""Of nesting in a body. A command has none; how deep Python's parser can go depends on who calls it."""
MOST_RAW: Final = 64 * 1024
"""Bytes of a raw message that a dead letter keeps."""

_EMBEDDED: Final = {"callbacks", "errbacks", "chain", "chord"}
_KEYWORDS: Final = {APPLY: ("command", dict), APPLY_MANY: ("commands", list), MARK: ("mark", int)}


class Intake:
    """Checks what arrives and buries what is no command."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def accept(self, fields: Any, lane: Lane, place: str) -> DeviceStatusCommand | None:
        """The command in `fields`; None where it is none and lies with the dead letters now.

        Parameters:
            place: names the message and the place in it, the same when it is delivered again.
        """
        try:
            version = fields.get("schema_version", SCHEMA_VERSION) if isinstance(fields, Mapping) else None
            if type(version) is int and version != SCHEMA_VERSION:
                self.bury(
                    "UnsupportedSchema",
                    f"schema_version: is {version}; this worker knows {SCHEMA_VERSION}",
                    json.dumps(fields).encode(),
                    queue_name(lane),
                    place,
                )
                return None
            command = parse_command(fields)
        except InvalidCommandError as error:
            self.bury("MalformedCommand", str(error), json.dumps(fields).encode(), queue_name(lane), place)
            return None
        return self._complete(command, fields, place)

    def _complete(self, command: DeviceStatusCommand, fields: Any, place: str) -> DeviceStatusCommand:
        """With an id and a time that come from the message where the sender left them out: made anew at each
        delivery, they would let a message that is delivered again overtake what was applied meanwhile.
        """
        given, update = command.model_fields_set, dict[str, Any]()
        if "command_id" not in given:
            update["command_id"] = f"message:{_digest(place)}"
            if "idempotency_key" not in given:
                update["idempotency_key"] = update["command_id"]
        if "issued_at" not in given:
            # With what the command says: two messages of one id, a sender's bug, keep a time each.
            update["issued_at"] = self._ledger.first_received(
                _digest(place, json.dumps(fields, sort_keys=True))
            )
        return command.model_copy(update=update) if update else command

    def bury(self, code: str, reason: str, raw: bytes, queue: str, place: str = "") -> None:
        """Put a message on record that can't become a command.

        Parameters:
            place: the same when the message is delivered again, so that it makes one dead letter; without
                it each call makes one.

        Raises:
            LedgerUnavailableError: it is not on record; keep the message.
        """
        place = place or str(uuid.uuid4())
        letter_id = hashlib.sha256(b"\n".join([queue.encode(), place.encode(), raw])).hexdigest()[:32]
        kept = raw[:MOST_RAW].decode("utf-8", "backslashreplace")
        if len(raw) > MOST_RAW:
            reason = f"{reason} (the first {MOST_RAW} of its {len(raw)} bytes are kept)"
        self._ledger.scripts.run("bury", [], letter_id, code, reason, kept, queue)
        logger.warning("dead letter %s: %s from queue %s", letter_id, code, queue)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def envelope_problem(raw: bytes) -> str | None:
    """Why kombu could not read this message off Redis, or None."""
    if len(raw) > MOST_ENVELOPE:
        return f"message: has {len(raw)} bytes; the rule is at most {MOST_ENVELOPE}"
    try:
        envelope = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return f"message: is no JSON in UTF-8 ({type(error).__name__})"
    if not isinstance(envelope, dict):
        return "message: is no JSON object"
    properties, headers = envelope.get("properties"), envelope.get("headers")
    if not isinstance(properties, dict):
        return "properties: is missing or no object"
    if not isinstance(headers, dict):
        return "headers: is missing or no object"
    tag = properties.get("delivery_tag")
    # kombu keeps it in Redis, which takes no half of a character: it would try forever.
    if not isinstance(tag, str) or not tag or not tag.isprintable():
        return "properties.delivery_tag: is missing or not printable text"
    if not isinstance(envelope.get("body"), str):
        return "body: is missing or no text"
    encoding = properties.get("body_encoding")
    # kombu compares the one in lower case, and the other as it is.
    if encoding not in (None, "base64") and str(encoding).lower() != "utf-8":
        return "properties.body_encoding: the rule is base64, utf-8 or none"
    if encoding == "base64":
        try:
            base64.b64decode(envelope["body"], validate=True)
        except (binascii.Error, ValueError):
            return "body: is no base64"
    return None


def message_problem(headers: Any, content_type: Any, encoding: Any, body: Any) -> tuple[str, str] | None:
    """Why Celery could not run this message, as error code and reason, or None.

    Parameters:
        body: bytes or text as the broker delivered it.
    """
    if not isinstance(headers, Mapping):
        return "MalformedMessage", "headers: are missing; Celery's message protocol 2 is needed"
    task, task_id = headers.get("task"), headers.get("id")
    if not isinstance(task, str):
        return "MalformedMessage", "headers.task: is missing; Celery's message protocol 2 is needed"
    if task not in _KEYWORDS:
        return "MalformedMessage", f"headers.task: is unknown; the rule is {APPLY} or {APPLY_MANY}"
    if not isinstance(task_id, str) or not 0 < len(task_id) <= 256 or not task_id.isprintable():
        return "MalformedMessage", "headers.id: is missing or no text of 1 to 256 printable characters"
    for name in ("eta", "expires"):
        if headers.get(name) is not None:
            return "MalformedMessage", f"headers.{name}: is not supported; use expires_at in the command"
    if content_type != "application/json" or str(encoding or "utf-8").lower() not in ("utf-8", "utf8"):
        return "MalformedMessage", "content-type: the rule is application/json in utf-8"
    if headers.get("compression") is not None:
        return "MalformedMessage", "headers.compression: is not supported"
    return _body_problem(task, body if isinstance(body, bytes) else str(body).encode("utf-8", "replace"))


def plain_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that Celery can only read one way: the sender's task and id, and nothing else of theirs."""
    return {
        "lang": "py",
        "task": headers["task"],
        "id": headers["id"],
        "root_id": headers["id"],
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "ignore_result": True,
        # Celery's own producers repeat the arguments here, and Celery would log them.
        "argsrepr": "()",
        "kwargsrepr": "{}",
    }


def _body_problem(task: str, body: bytes) -> tuple[str, str] | None:
    if len(body) > MOST_BODY:
        return "MalformedMessage", f"body: has {len(body)} bytes; the rule is at most {MOST_BODY}"
    try:
        # As kombu reads it, to the letter: what only one of the two could read would be lost. From bytes,
        # json would take UTF-16 and a byte order mark as well.
        content = json.loads(body.decode("utf-8"), object_hook=_without_types)
    except (ValueError, RecursionError) as error:
        return "MalformedMessage", f"body: is no JSON in UTF-8 ({type(error).__name__})"
    if _nests_deeper(content, MOST_LEVELS):
        return "MalformedMessage", f"body: is nested deeper than {MOST_LEVELS} levels"
    match content:
        case [[], dict(keywords), dict() | None as embedded] if _is_harmless(embedded or {}):
            pass
        case _:
            return "MalformedMessage", "body: the rule is [[], {keyword arguments}, {}]"
    name, kind = _KEYWORDS[task]
    expected = {name, "lane"} if task == MARK else {name}
    if set(keywords) != expected or not isinstance(keywords[name], kind):
        return "MalformedMessage", f"body: {task} takes one keyword argument, {name}: {kind.__name__}"
    if task == APPLY_MANY and len(keywords[name]) > MOST_COMMANDS_A_MESSAGE:
        return "MalformedMessage", f"body: has more than {MOST_COMMANDS_A_MESSAGE} commands"
    if task == MARK and keywords["lane"] not in list(Lane):
        return "MalformedMessage", "body: the mark is of no lane"
    return None


def _is_harmless(embedded: dict[str, Any]) -> bool:
    # Callbacks and chains would have this worker publish whatever the message says; any other name would
    # stand in the place of what Celery itself knows of the task.
    return embedded.keys() <= _EMBEDDED and not any(embedded.values())


def _without_types(fields: dict[str, Any]) -> dict[str, Any]:
    if fields.keys() == {"__type__", "__value__"}:
        raise ValueError("kombu would make it another type")
    return fields


def _nests_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return levels == 0 or any(_nests_deeper(each, levels - 1) for each in value)

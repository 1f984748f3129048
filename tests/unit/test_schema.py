"""Promises of docs/command.schema.json: it is current, and it says what the model says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from jsonschema.protocols import Validator

from device_status import InvalidCommandError, parse_command
from device_status.schema import schema_text
from support import wire_object
from support.strategies import wire_objects

try:
    import regex
except ImportError:
    regex = None  # Then nothing here can read \p{L}.

FILE = Path(__file__).parents[2] / "docs" / "command.schema.json"
COMMAND = "python -m device_status.schema > docs/command.schema.json"


def ecma_pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """`pattern` as JSON Schema means it; Python's `re` has other ideas of \\d and $, and no \\p."""
    of_unicode = "\\p" in pattern
    if not isinstance(instance, str) or (of_unicode and regex is None):
        return
    pattern = re.sub(r"\$$", r"\\Z", pattern)
    found = regex.search(pattern, instance) if of_unicode else re.search(pattern, instance, re.ASCII)
    if not found:
        yield ValidationError("does not match the pattern")


EcmaValidator = validators.extend(Draft202012Validator, {"pattern": ecma_pattern})


@pytest.fixture(scope="module")
def schema() -> Validator:
    return EcmaValidator(json.loads(FILE.read_text()), format_checker=FormatChecker(["date-time"]))


def model_accepts(thing: Any) -> bool:
    try:
        parse_command(thing)
    except InvalidCommandError:
        return False
    return True


class TestTheFile:
    def test_it_is_current(self) -> None:
        current = FILE.exists() and FILE.read_text() == schema_text()
        assert current, f"{FILE.name} is not what the model says; run: {COMMAND}"

    def test_the_command_writes_it(self) -> None:
        written = subprocess.run(
            [sys.executable, "-m", "device_status.schema"], capture_output=True, check=True, text=True
        )
        assert written.stdout == schema_text()

    def test_it_is_a_valid_schema_of_draft_2020_12(self) -> None:
        schema = json.loads(FILE.read_text())
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        # Without formats: Python's `re` would have to read the patterns, which are ECMA 262's.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(()))

    def test_it_holds_every_field_and_no_other(self) -> None:
        schema = json.loads(FILE.read_text())
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == {"user_pool_id", "username", "device_key", "status"}


VALID = [
    {"username": "a" * 128},
    {"username": "é€١😀"},
    {"user_pool_id": "eu-west-1_" + "A" * 45},
    {"device_key": "x_-"},
    {"issued_at": "2026-05-04t03:02:01.123456789z"},
    {"issued_at": "2026-05-04T03:02:01-23:59"},
    {"expires_at": None, "reason": None, "incident_id": None, "requested_by": None},
    {"schema_version": 1.0},
]
INVALID = [
    *({field: ...} for field in ("user_pool_id", "username", "device_key", "status")),
    *({field: None} for field in ("user_pool_id", "username", "device_key", "status", "issued_at")),
    *({field: 5} for field in ("username", "command_id", "idempotency_key", "reason", "expires_at")),
    {"schema_version": 2},
    {"schema_version": True},
    {"schema_version": "1"},
    {"schema_version": None},
    {"command_id": ""},
    {"command_id": "x" * 257},
    {"idempotency_key": ""},
    {"idempotency_key": "x" * 257},
    {"user_pool_id": "x" * 56 + "_a"},
    {"user_pool_id": "é_a"},
    {"user_pool_id": "a_b\n"},
    {"device_key": "a_A"},
    {"device_key": "a_b\n"},
    {"device_key": "a_" + "b" * 54},
    {"status": "Remembered"},
    {"status": ""},
    {"issued_at": "2026-05-04T03:02:01"},
    {"issued_at": "2026-05-04"},
    {"issued_at": "2026-05-04 03:02:01Z"},
    {"issued_at": "2026-02-29T03:02:01Z"},
    {"issued_at": "2026-05-04T24:00:00Z"},
    {"issued_at": "2026-05-04T03:02:01+24:00"},
    {"issued_at": "2026-05-04T03:02:01+01:60"},
    {"issued_at": "2026-05-04T03:02:01Z\n"},
    {"issued_at": "٢٠٢٦-05-04T03:02:01Z"},
    # Longer than an instant is ever read.
    {"issued_at": "2026-05-04T03:02:01." + "1" * 40 + "Z"},
    {"expires_at": "soon"},
    {"incident_id": "x" * 257},
    {"requested_by": "x" * 257},
    {"reason": "x" * 1025},
    {"lane": "urgent"},
]
BAD_USERNAMES = ["", "a" * 129, "a b", "a\n", "\x00", "\u200b", "\u00a0", "\u2028", "\ue000"]


class TestSchemaAndModelAgree:
    @given(fields=wire_objects())
    def test_on_every_valid_command(self, schema: Validator, fields: dict[str, Any]) -> None:
        schema.validate(fields)
        parse_command(fields)

    @given(fields=wire_objects())
    def test_on_every_command_that_was_sent(self, schema: Validator, fields: dict[str, Any]) -> None:
        schema.validate(parse_command(fields).to_wire())

    @pytest.mark.parametrize("fields", VALID, ids=ascii)
    def test_on_what_is_valid(self, schema: Validator, fields: dict[str, Any]) -> None:
        thing = wire_object(**fields)
        assert (schema.is_valid(thing), model_accepts(thing)) == (True, True)

    @pytest.mark.parametrize("fields", INVALID, ids=lambda fields: ascii(fields)[:60])
    def test_on_what_is_invalid(self, schema: Validator, fields: dict[str, Any]) -> None:
        thing = wire_object(**fields)
        assert (schema.is_valid(thing), model_accepts(thing)) == (False, False)

    @pytest.mark.skipif(regex is None, reason="the package regex is not installed: nothing reads \\p{L}")
    @pytest.mark.parametrize("username", BAD_USERNAMES, ids=lambda text: ascii(text)[:20])
    def test_on_invalid_usernames(self, schema: Validator, username: str) -> None:
        thing = wire_object(username=username)
        assert (schema.is_valid(thing), model_accepts(thing)) == (False, False)

    @pytest.mark.parametrize("thing", [None, "text", 5, [], True], ids=ascii)
    def test_on_what_is_no_object(self, schema: Validator, thing: Any) -> None:
        assert (schema.is_valid(thing), model_accepts(thing)) == (False, False)

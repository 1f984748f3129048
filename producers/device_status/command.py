"""The wire contract, schema version 1: one requested change of one device's remembered status.

The rules for `user_pool_id`, `username` and `device_key` are those of the AWS API (the shapes
UserPoolIdType, UsernameType and DeviceKeyType in botocore's model of cognito-idp); `\\w` there is
Java's, so ASCII only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypedDict, TypeVar, Unpack

import uuid6
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from device_status.errors import InvalidCommandError

SCHEMA_VERSION: Final = 1
RESERVED_PREFIXES: Final = ("incident:", "repair:", "user:")
"""Of the ids that incidents and repairs give their commands (lua/prelude.lua refuses them to all others)."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339: Final = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$"
_RFC_3339_PATTERN: Final = re.compile(_RFC_3339, re.ASCII)


class Status(StrEnum):
    """What Cognito shall think of the device."""

    REMEMBERED = "remembered"
    NOT_REMEMBERED = "not_remembered"


class Lane(StrEnum):
    """How urgent a command is; each lane is one Celery queue."""

    URGENT = "urgent"
    ROUTINE = "routine"
    BULK = "bulk"


StatusName = Literal["remembered", "not_remembered"]
"""A `Status` by its text."""

LaneName = Literal["urgent", "routine", "bulk"]
"""A `Lane` by its text."""


class _RequiredFields(TypedDict):
    user_pool_id: str
    username: str
    device_key: str
    status: Status | StatusName


class CommandFields(_RequiredFields, total=False):
    """The fields of a `DeviceStatusCommand` as a caller gives them: for type checkers and editors."""

    command_id: str
    idempotency_key: str
    issued_at: datetime | str
    """With an offset; as text in RFC 3339."""
    expires_at: datetime | str | None
    incident_id: str | None
    requested_by: str | None
    reason: str | None
    schema_version: Literal[1]


def _utc_from_rfc_3339(value: object) -> datetime:
    """An instant in UTC; pydantic alone would take numbers and dates without a time as well."""
    if isinstance(value, str):
        if not _RFC_3339_PATTERN.fullmatch(value):
            raise PydanticCustomError("rfc_3339", "is not RFC 3339 with an offset, as 2026-05-04T03:02:01Z")
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            raise PydanticCustomError("rfc_3339", "is no date and time that exists") from None
    if not isinstance(value, datetime):
        raise PydanticCustomError("rfc_3339", "is no text; the rule is RFC 3339 with an offset")
    if value.utcoffset() is None:
        raise PydanticCustomError("rfc_3339", "has no offset from UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("rfc_3339", "lies outside the years 1 to 9999 in UTC") from None


def _no_bool(value: object) -> object:
    # To Python True == 1, so Literal[1] would let it through.
    if isinstance(value, bool):
        raise PydanticCustomError("schema_version", "is a boolean; the rule is the number 1")
    return value


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_utc_from_rfc_3339),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _RFC_3339}),
]


def new_command_id() -> str:
    """A UUIDv7: unique without coordination, and sorted by the time it was made."""
    return str(uuid6.uuid7())


def _now() -> datetime:
    return datetime.now(UTC)


class DeviceStatusCommand(BaseModel):
    """One requested change: this device of this user of this pool gets this status.

    Raises:
        InvalidCommandError: a field breaks its rule; as `parse_command`.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        title="device-status command",
        json_schema_extra={
            "description": "One requested change of the remembered status of one Amazon Cognito device."
        },
    )

    schema_version: Annotated[Literal[1], BeforeValidator(_no_bool)] = Field(
        SCHEMA_VERSION, description="Version of this contract."
    )
    command_id: str = Field(
        default_factory=new_command_id,
        min_length=1,
        max_length=256,
        description="Default: a new UUIDv7. `incident:`, `repair:` and `user:` are reserved beginnings.",
    )
    idempotency_key: str = Field(
        default_factory=lambda fields: str(fields["command_id"]),
        min_length=1,
        max_length=256,
        description="Commands with the same key are one command. Default: command_id. "
        "`incident:`, `repair:` and `user:` are reserved beginnings.",
    )
    user_pool_id: str = Field(
        min_length=1,
        max_length=55,
        pattern=r"^[A-Za-z0-9_-]+_[0-9a-zA-Z]+$",
        description="The Region is the part before the underscore.",
    )
    username: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[\p{L}\p{M}\p{S}\p{N}\p{P}]+$",
        repr=False,
        description="Personal data.",
    )
    device_key: str = Field(
        min_length=1,
        max_length=55,
        pattern=r"^[A-Za-z0-9_-]+_[0-9a-f-]+$",
        repr=False,
        description="As AdminListDevices returns it.",
    )
    status: Status = Field(description="What the device shall become.")
    issued_at: Instant = Field(
        default_factory=_now,
        description="Orders the commands for one device. Default: now. On a tie not_remembered wins.",
    )
    expires_at: Instant | None = Field(None, description="Past it, the outcome is `expired`, with no call.")
    incident_id: str | None = Field(
        None, max_length=256, description="For the audit trail; it makes the command no part of an incident."
    )
    requested_by: str | None = Field(None, max_length=256, description="For the audit trail.")
    reason: str | None = Field(None, max_length=1024, description="For the audit trail.")

    def __init__(self, **fields: Unpack[CommandFields]) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InvalidCommandError(explain(error)) from None

    # So that what only validates does not come this way.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @property
    def region(self) -> str:
        """The AWS Region that the pool lives in."""
        return region_of(self.user_pool_id)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over pool, username, device key and status: what the command does."""
        return _sha256(self.user_pool_id, self.username, self.device_key, self.status)

    @property
    def device_hash(self) -> str:
        """SHA-256 over pool, username and device key: which device it is about."""
        return device_hash(self.user_pool_id, self.username, self.device_key)

    @property
    def order(self) -> int:
        """Rank among the commands of one device: twice the microseconds since 1970, so that a tie
        leaves room for `not_remembered` to win. Below 2**53 until the year 2112, so Lua can compare it.
        """
        return 2 * microseconds(self.issued_at) + (self.status is Status.NOT_REMEMBERED)

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that travels; fields that are null are left out."""
        return self.model_dump(mode="json", exclude_none=True)


def parse_command(fields: CommandFields | Mapping[str, object]) -> DeviceStatusCommand:
    """Check `fields` against the contract.

    Raises:
        InvalidCommandError: names every wrong field, what is wrong with it, and the rule.
    """
    try:
        return DeviceStatusCommand.model_validate(fields)
    except ValidationError as error:
        raise InvalidCommandError(explain(error)) from None


def parse_lane(lane: Lane | LaneName) -> Lane:
    """Raises InvalidCommandError if it is not a lane."""
    return _parse_name("lane", Lane, lane)


def parse_status(status: Status | StatusName) -> Status:
    """Raises InvalidCommandError if it is not a status."""
    return _parse_name("status", Status, status)


def check_unreserved(command: DeviceStatusCommand) -> None:
    """Check that a producer's command has no id that only incidents and repairs may give.

    Raises:
        InvalidCommandError: names the field and the rule.
    """
    for name in ("command_id", "idempotency_key"):
        if getattr(command, name).startswith(RESERVED_PREFIXES):
            raise InvalidCommandError(
                f"{name}: begins with {' or '.join(RESERVED_PREFIXES)}, which are reserved; use another"
            )


def explain(error: ValidationError) -> str:
    """One line for a person: `username: 129 characters, the rule is 1 to 128; status: …`."""
    return "; ".join(
        _explain_one(dict(problem))
        for problem in error.errors(include_url=False)
        # Says only that another field, already named, was wrong.
        if problem["type"] != "default_factory_not_called"
    )


def region_of(user_pool_id: str) -> str:
    """The AWS Region that a pool lives in."""
    return user_pool_id.partition("_")[0]


def device_hash(user_pool_id: str, username: str, device_key: str) -> str:
    """SHA-256 over what names a device."""
    return _sha256(user_pool_id, username, device_key)


def microseconds(instant: datetime) -> int:
    """Whole microseconds since 1970; exact, unlike `timestamp()`."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def _explain_one(problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "command"
    context = problem.get("ctx", {})
    length = len(problem["input"]) if isinstance(problem.get("input"), str) else 0
    match problem["type"]:
        case "missing":
            what = "is missing; it is required"
        case "extra_forbidden":
            where, what = where[:64], "is no field of the contract; remove it"
        case "string_too_short":
            what = f"is empty; the rule is at least {context['min_length']} character"
        case "string_too_long":
            what = f"has {length} characters; the rule is at most {context['max_length']}"
        case "string_pattern_mismatch":
            what = f"has a character or form that is not allowed; the rule is {context['pattern']}"
        case "enum" | "literal_error":
            what = f"is not one of the allowed values; the rule is {context['expected']}"
        case "rfc_3339" | "schema_version":
            what = str(problem["msg"])
        case _:
            rule = str(problem["msg"])
            what = f"is {type(problem['input']).__name__}; the rule: {rule[:1].lower()}{rule[1:]}"
    # A field's name is the sender's: it may hold anything, line breaks included.
    return f"{where.encode('unicode_escape').decode()}: {what}"


_Name = TypeVar("_Name", bound=StrEnum)


def _parse_name(where: str, names: type[_Name], name: str) -> _Name:
    try:
        return names(name)
    except ValueError:
        *most, last = (f"'{each}'" for each in names)
        raise InvalidCommandError(
            f"{where}: is not one of the allowed values; the rule is {', '.join(most)} or {last}"
        ) from None


def _sha256(*parts: str) -> str:
    # A newline can stand in none of the parts, so the join is unambiguous.
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()

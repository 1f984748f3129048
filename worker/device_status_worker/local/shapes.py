"""What a request of the four device operations must look like, and Cognito's complaint where it does not.

Source: the service model in botocore 1.44 (`cognito-idp/2016-04-18/service-2.json`): required members,
lengths, patterns, the enum and the range; a unit test holds this table equal to it. The wording of the
complaint is AWS's (seen in many public issue threads) with one difference: AWS repeats the value of members
that are not marked sensitive, and this never repeats any, so that no log of a test ever shows a username.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .wire import AwsError

STATUSES = ("remembered", "not_remembered")
MAX_LIMIT = 60


@dataclass(frozen=True)
class Text:
    """A string member: `matches` is `pattern` as a function, for Python's `re` has no `\\p{L}`."""

    min_length: int
    max_length: int | None
    pattern: str
    matches: Callable[[str], object]


def _compiled(pattern: str, max_length: int | None) -> Text:
    # Java's \w is ASCII unless told otherwise; Python's is not.
    return Text(1, max_length, pattern, re.compile(pattern, re.ASCII).fullmatch)


def _is_username(value: str) -> bool:
    return all(unicodedata.category(character)[0] in "LMSNP" for character in value)


TEXTS: Mapping[str, Text] = {
    "UserPoolId": _compiled(r"[\w-]+_[0-9a-zA-Z]+", 55),
    "Username": Text(1, 128, r"[\p{L}\p{M}\p{S}\p{N}\p{P}]+", _is_username),
    "DeviceKey": _compiled(r"[\w-]+_[0-9a-f-]+", 55),
    "PaginationToken": _compiled(r"[\S]+", None),
}
# Members of each operation: True where required.
MEMBERS: Mapping[str, Mapping[str, bool]] = {
    "AdminUpdateDeviceStatus": {
        "UserPoolId": True,
        "Username": True,
        "DeviceKey": True,
        "DeviceRememberedStatus": False,
    },
    "AdminGetDevice": {"DeviceKey": True, "UserPoolId": True, "Username": True},
    "AdminListDevices": {"UserPoolId": True, "Username": True, "Limit": False, "PaginationToken": False},
    "AdminForgetDevice": {"UserPoolId": True, "Username": True, "DeviceKey": True},
}


@dataclass(frozen=True)
class Arguments:
    """A request's members, checked. A member the operation does not have, or that was left out, is None."""

    user_pool_id: str
    username: str
    device_key: str = ""
    status: str | None = None
    limit: int | None = None
    token: str | None = None


def decode(body: bytes) -> dict[str, object]:
    """The request's JSON object; raises `SerializationException` for anything else."""
    try:
        members = json.loads(body)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise AwsError("SerializationException", "The request body is not a JSON object.")
    return members


def check(operation: str, members: Mapping[str, object]) -> Arguments:
    """The arguments of one of the four operations.

    Raises `SerializationException` for a member of the wrong JSON type and `InvalidParameterException`, with
    all complaints in one message as AWS does, for a member that is missing or out of its constraint.
    """
    complaints: list[str] = []
    for name, required in MEMBERS[operation].items():
        value = members.get(name)
        if value is None:
            if required:
                complaints.append(_complaint(name, "not be null"))
            continue
        expected = int if name == "Limit" else str
        if not isinstance(value, expected) or isinstance(value, bool):
            raise AwsError("SerializationException", f"The member {name} is not of the type it must have.")
        complaints.extend(_complaint(name, rule) for rule in _broken_rules(name, value))
    if complaints:
        plural = "s" if len(complaints) > 1 else ""
        raise AwsError(
            "InvalidParameterException",
            f"{len(complaints)} validation error{plural} detected: {'; '.join(complaints)}",
        )
    given = {name: members.get(name) for name in MEMBERS[operation]}
    return Arguments(
        user_pool_id=str(given["UserPoolId"]),
        username=str(given["Username"]),
        device_key=str(given.get("DeviceKey", "")),
        status=_optional(given.get("DeviceRememberedStatus")),
        limit=int(limit) if isinstance(limit := given.get("Limit"), int) else None,
        token=_optional(given.get("PaginationToken")),
    )


def is_valid(name: str, value: str) -> bool:
    """Whether Cognito would take `value` for the string member `name`."""
    return not _broken_rules(name, value)


def _broken_rules(name: str, value: str | int) -> list[str]:
    """What the value must satisfy and does not: the ends of sentences that begin with "Member must"."""
    if isinstance(value, int):
        if value > MAX_LIMIT:
            return [f"have value less than or equal to {MAX_LIMIT}"]
        return ["have value greater than or equal to 0"] if value < 0 else []
    if name == "DeviceRememberedStatus":
        return [] if value in STATUSES else [f"satisfy enum value set: [{', '.join(STATUSES)}]"]
    text = TEXTS[name]
    broken = []
    if len(value) < text.min_length:
        broken.append(f"have length greater than or equal to {text.min_length}")
    if text.max_length is not None and len(value) > text.max_length:
        broken.append(f"have length less than or equal to {text.max_length}")
    if value and not text.matches(value):
        broken.append(f"satisfy regular expression pattern: {text.pattern}")
    return broken


def _complaint(name: str, rule: str) -> str:
    member = name[0].lower() + name[1:]
    return f"Value at '{member}' failed to satisfy constraint: Member must {rule}"


def _optional(value: object) -> str | None:
    return None if value is None else str(value)

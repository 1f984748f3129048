"""What counts as an answer of Amazon Cognito's, and what an answer that is no success means.

botocore is lenient here: to it, a body that it can't parse is an empty answer, so that a proxy's page, or
half a list, would be a success. Something counts as AWS's answer only if it carries AWS's request id and
media type, and as a success only if it is whole: HTTP 200, a body that parses, and the members of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from device_status.errors import InvalidCommandError
from device_status.incident_rules import check_user
from device_status_worker.bounded_http import HttpAnswer
from device_status_worker.failures import ACTIONS, Action, Failure

MEDIA_TYPE: Final = "application/x-amz-json-1.1"
NOT_FROM_AWS: Final = "NotFromAws:"
"""Begins the code of what something else answered in AWS's place, as `NotFromAws:HTTP403`."""
BROKEN: Final = "BrokenAnswer"
"""The code of an answer with HTTP 200 by AWS that is not whole."""


def _is_device_key(text: str) -> bool:
    """DeviceKeyType in botocore's model of cognito-idp."""
    return len(text) <= 55 and bool(re.fullmatch(r"[\w-]+_[0-9a-f-]+", text, re.ASCII))


def _is_username(text: str) -> bool:
    """UsernameType there, by the rule of the contract: what else is listed could never be a command."""
    try:
        check_user("x_0", text)
    except InvalidCommandError:
        return False
    return True


_MEMBERS: Final[dict[str, tuple[str, str, Callable[[str], bool]]]] = {
    "AdminListDevices": ("Devices", "DeviceKey", _is_device_key),
    "ListUsers": ("Users", "Username", _is_username),
}
"""By operation: the list in its answer, and what names each item, with the rule for it."""
_THROTTLED: Final = (HTTPStatus.TOO_MANY_REQUESTS, 509)
"""As botocore reads them (data/_retry.json)."""
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,99}", re.ASCII)
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_LONGEST_MESSAGE: Final = 1000


def failure_in(answer: HttpAnswer, operation: str) -> Failure | None:
    """Why an answer is not the success of `operation`; None if it is."""
    request_id = _request_id(answer)
    content = _object_in(answer.body)
    code = _code_in(answer, content)
    if answer.status == HTTPStatus.OK and request_id:
        problem = f"HTTP 200 with the error {code}" if code else _problem_in(answer, content, operation)
        return Failure(Action.RETRY, BROKEN, problem, request_id, in_doubt=True) if problem else None
    action = _action(answer.status, code, request_id)
    if action is Action.BACK_OFF:
        name = f"{NOT_FROM_AWS}HTTP{answer.status}"
        return Failure(action, name, "something between here and AWS answered", request_id, in_doubt=True)
    return Failure(
        action,
        code or f"HTTP{answer.status}",
        _message_in(content),
        request_id,
        # Whatever stands in front of AWS may have passed the request on before it failed itself.
        in_doubt=action is Action.RETRY or not request_id,
    )


def _action(status: int, code: str, request_id: str) -> Action:
    """What to do about an error, by its code, else by its HTTP status."""
    if code and request_id:
        return ACTIONS.get(code) or _by_status(status)
    # Only AWS may say that a command can't succeed, that credentials are wrong, or that an attempt was made.
    if status in _THROTTLED or ACTIONS.get(code) is Action.SLOW_DOWN:
        return Action.SLOW_DOWN
    return Action.BACK_OFF


def _by_status(status: int) -> Action:
    """What to do about an error of AWS that the table does not have."""
    if status in _THROTTLED:
        return Action.SLOW_DOWN
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Action.PAUSE
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Action.DEAD_LETTER
    return Action.RETRY


def _problem_in(answer: HttpAnswer, content: dict[str, Any] | None, operation: str) -> str:
    """What a success lacks; empty if nothing."""
    if operation not in _MEMBERS:
        # AWS documents an empty body for an answer without members, and sends `{}`.
        is_empty = not answer.body and answer.headers.get("content-length") == "0"
        return "" if is_empty or content == {} else "the body is not an empty JSON object"
    if content is None:
        return "the body is not a JSON object"
    member, name, is_valid = _MEMBERS[operation]
    items, token = content.get(member), content.get("PaginationToken")
    if not isinstance(items, list):
        return f"{member} is missing"
    for item in items:
        value = item.get(name) if isinstance(item, dict) else None
        if not isinstance(value, str) or not is_valid(value):
            return f"an item of {member} has no valid {name}"
    # Half a character, which JSON can hold and UTF-8 can't, is not printable.
    is_text = isinstance(token, str) and token and token.isprintable()
    return "" if token is None or is_text else "PaginationToken is not text"


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice, and only one of its values would count")
    return fields


def _code_in(answer: HttpAnswer, content: dict[str, Any] | None) -> str:
    """AWS's error code: in the body or in a header, with a namespace before it or a URL behind it."""
    for place in ((content or {}).get("__type"), answer.headers.get("x-amzn-errortype")):
        if isinstance(place, str):
            code = place.partition(":")[0].rpartition("#")[2].strip()
            if _CODE.fullmatch(code):
                return code
    return ""


def _message_in(content: dict[str, Any] | None) -> str:
    message = (content or {}).get("message") or (content or {}).get("Message")
    if not isinstance(message, str):
        return ""
    # It goes into the ledger, which takes what can be written in UTF-8: no half of a character.
    return message[:_LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode()


def _request_id(answer: HttpAnswer) -> str:
    """Of AWS; empty if something else answered."""
    request_id = answer.headers.get("x-amzn-requestid") or ""
    media_type = (answer.headers.get("content-type") or "").partition(";")[0].strip().lower()
    return request_id if media_type == MEDIA_TYPE and _REQUEST_ID.fullmatch(request_id) else ""

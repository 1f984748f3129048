"""What goes back over the wire: an answer as AWS gives it, or none at all.

Shapes, from Amazon Cognito's API (protocol `json` 1.1 in botocore's service model, and the sample responses
of the API reference): an error is HTTP 400 (500 for `InternalErrorException`) with `{"__type": code,
"message": text}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

CONTENT_TYPE = "application/x-amz-json-1.1"


class AwsError(Exception):
    """An operation's documented error. `code` is the `__type` that boto3 reads as the error code."""

    def __init__(self, code: str, message: str, http_status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


@dataclass(frozen=True)
class Response:
    """An HTTP answer. `from_aws` is False for what a proxy in between says: it carries no AWS request id.

    `announced` is the Content-Length, where it is not the body's; -1 announces none, and the connection's end
    is the answer's. `pace` is the seconds between two bytes of the whole answer, its head included.
    """

    status: int
    body: bytes
    content_type: str = CONTENT_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    from_aws: bool = True
    announced: int | None = None
    pace: float = 0.0


@dataclass(frozen=True)
class Hangup:
    """No answer: the connection ends, by RST (`reset`) or by a plain close."""

    reset: bool


Answer = Response | Hangup


def json_response(body: Mapping[str, object]) -> Response:
    """HTTP 200 with a JSON object."""
    return Response(200, json.dumps(body, ensure_ascii=False).encode())


def error_response(code: str, message: str, http_status: int = 400) -> Response:
    """An error as Cognito sends it: the code both in the body, where boto3 looks, and in a header."""
    body = json.dumps({"__type": code, "message": message}, ensure_ascii=False).encode()
    return Response(http_status, body, headers=(("x-amzn-errortype", f"{code}:"),))

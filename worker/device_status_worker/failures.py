"""What to do about each error that a call may end in: a table, and how an error is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name for every failure to connect
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidRegionError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    TokenRetrievalError,
)


class Action(Enum):
    """What happens to the command, and to the gate."""

    DEAD_LETTER = "the command can't succeed as it stands"
    SLOW_DOWN = "the gate slows down for everybody; retried, not counted as an attempt"
    RETRY = "the service failed: retried with a growing delay, up to the limits"
    PAUSE = "the fault is ours, not the command's: the target is paused and probed; retried, not counted"


ACTIONS: Final[dict[str, Action]] = {
    # Modelled by AWS for AdminUpdateDeviceStatus: a fault of the command.
    "UserNotFoundException": Action.DEAD_LETTER,
    "ResourceNotFoundException": Action.DEAD_LETTER,
    "InvalidParameterException": Action.DEAD_LETTER,
    "InvalidUserPoolConfigurationException": Action.DEAD_LETTER,
    "NotAuthorizedException": Action.DEAD_LETTER,
    "OperationNotEnabledException": Action.DEAD_LETTER,
    # Throttling, in all the names that AWS has for it.
    "TooManyRequestsException": Action.SLOW_DOWN,
    "ThrottlingException": Action.SLOW_DOWN,
    "Throttling": Action.SLOW_DOWN,
    "RequestLimitExceeded": Action.SLOW_DOWN,
    "LimitExceededException": Action.SLOW_DOWN,
    # The service failed.
    "InternalErrorException": Action.RETRY,
    "InternalFailure": Action.RETRY,
    "ServiceUnavailable": Action.RETRY,
    "RequestTimeout": Action.RETRY,
    "RequestTimeoutException": Action.RETRY,
    # Credentials and permission.
    "AccessDeniedException": Action.PAUSE,
    "AccessDenied": Action.PAUSE,
    "ExpiredToken": Action.PAUSE,
    "ExpiredTokenException": Action.PAUSE,
    "UnrecognizedClientException": Action.PAUSE,
    "InvalidClientTokenId": Action.PAUSE,
    "InvalidSignatureException": Action.PAUSE,
    "SignatureDoesNotMatch": Action.PAUSE,
    "IncompleteSignature": Action.PAUSE,
    "MissingAuthenticationToken": Action.PAUSE,
    "MissingAuthenticationTokenException": Action.PAUSE,
    "OptInRequired": Action.PAUSE,
    "RequestExpired": Action.PAUSE,
}
"""By error code. A code that is not here goes by its HTTP status: see `_by_status`."""

_OUR_FAULT: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    NoAuthTokenError,
    TokenRetrievalError,
    ProfileNotFound,
)
_THE_COMMANDS_FAULT: Final = (InvalidRegionError, ParamValidationError)
_THE_SERVICES_FAULT: Final = (ConnectionError, HTTPClientError, IncompleteReadError)


_LONGEST_MESSAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that did not succeed."""

    action: Action
    code: str
    """AWS's error code; without an answer from AWS, the name of what happened."""
    message: str
    """For the dead letter and the ledger, never for a log: AWS may repeat the request's values in it."""
    request_id: str
    unanswered: bool = False
    """Whether the request left, or may have left, and no answer came: it may still take effect."""


def classify(error: Exception) -> Failure:
    """Read what a call raised.

    What is none of botocore's errors is an answer that botocore could not read, or a bug: it is retried, and
    ends as `RetriesExhausted` with the error's name.
    """
    if isinstance(error, ClientError):
        return _from_answer(error)
    code = type(error).__name__
    if isinstance(error, _OUR_FAULT):
        return Failure(Action.PAUSE, code, str(error), "")
    if isinstance(error, _THE_COMMANDS_FAULT):
        return Failure(Action.DEAD_LETTER, code, str(error), "")
    if isinstance(error, _THE_SERVICES_FAULT):
        never_left = isinstance(error, ConnectTimeoutError | EndpointConnectionError | ProxyConnectionError)
        return Failure(Action.RETRY, code, str(error), "", unanswered=not never_left)
    if isinstance(error, BotoCoreError):
        # Settings, profiles, credential processes: nothing that another command could do better.
        return Failure(Action.PAUSE, code, str(error), "")
    return Failure(Action.RETRY, code, "the answer could not be read", "", unanswered=True)


def _from_answer(error: ClientError) -> Failure:
    answer = error.response
    metadata = answer.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    # A body that is no JSON (an HTML page of a load balancer) leaves the status as the code.
    code = answer.get("Error", {}).get("Code") or str(status)
    code = code if code and not code.isdigit() else f"HTTP{status}"
    return Failure(
        ACTIONS.get(code) or _by_status(status),
        code,
        str(answer.get("Error", {}).get("Message") or "")[:_LONGEST_MESSAGE],
        metadata.get("RequestId", ""),
    )


def _by_status(status: int) -> Action:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Action.SLOW_DOWN
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Action.DEAD_LETTER
    # 5xx, and whatever stands in front of AWS and answers with a redirect or nothing sensible.
    return Action.RETRY

"""What to do about each error that a call may end in: a table, and how an exception is read.

Answers are read in answers.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    ParamValidationError,
)

from device_status_worker.bounded_http import NoAnswerError


class Action(Enum):
    """What happens to the command, and to the gate."""

    DEAD_LETTER = "the command can't succeed in its present form"
    SLOW_DOWN = "the gate slows down for everybody; retried, not counted as an attempt"
    RETRY = "the service failed: retried with a growing delay, up to the limits"
    BACK_OFF = "AWS was not reached: the gate slows down to probes; retried, not counted as an attempt"
    PAUSE = "the fault is ours, not the command's: the target is paused and probed; retried, not counted"


_DEAD_LETTER: Final = (
    # Modelled by AWS for AdminUpdateDeviceStatus: a fault of the command.
    "UserNotFoundException",
    "ResourceNotFoundException",
    "InvalidParameterException",
    "InvalidUserPoolConfigurationException",
    "NotAuthorizedException",
    "OperationNotEnabledException",
    # Common to all of AWS.
    "ValidationError",
    "ValidationException",
)
_SLOW_DOWN: Final = (
    "TooManyRequestsException",
    # The other names that AWS has for throttling: botocore/retries/standard.py and data/_retry.json.
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TransactionInProgressException",
)
_RETRY: Final = (
    "InternalErrorException",
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "InternalServiceError",
    "InternalServiceException",
    "RequestAbortedException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    # What was sent arrived in pieces.
    "MalformedHttpRequestException",
    "SerializationException",
)
_PAUSE: Final = (
    # Credentials and permission.
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "SubscriptionRequiredException",
    "TokenRefreshRequired",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    # The clock of this host.
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    # What answers is not Amazon Cognito, or not a version that knows the operation.
    "InvalidAction",
    "UnknownOperationException",
)

ACTIONS: Final[dict[str, Action]] = {
    code: action
    for action, codes in (
        (Action.DEAD_LETTER, _DEAD_LETTER),
        (Action.SLOW_DOWN, _SLOW_DOWN),
        (Action.RETRY, _RETRY),
        (Action.PAUSE, _PAUSE),
    )
    for code in codes
}
"""By error code. A code that is not here goes by its HTTP status: see answers.py."""

_THE_COMMANDS_FAULT: Final = (InvalidRegionError, ParamValidationError)
BETWEEN_HERE_AND_AWS: Final = ("ProxyConnectionError", "SSLError")
"""A proxy that refuses, or a certificate that is not trusted, says nothing of the command."""
NOT_REACHED: Final = ("EndpointConnectionError", "ConnectTimeoutError")
"""The network is away, or the pool's Region does not exist."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that did not succeed."""

    action: Action
    code: str
    """AWS's error code; without an answer from AWS, the name of what happened."""
    message: str = field(repr=False)
    """For the dead letter and the ledger, never for a log: AWS may repeat the request's values in it."""
    request_id: str
    in_doubt: bool = False
    """Whether the request may have reached AWS and taken effect, or may still do so."""


def classify(error: Exception) -> Failure:
    """Read what a call raised.

    What is neither botocore's nor ours is an answer that could not be read, or a bug: it is retried, and ends
    as `RetriesExhausted` with the error's name.
    """
    if isinstance(error, NoAnswerError):
        action = Action.BACK_OFF if error.name in BETWEEN_HERE_AND_AWS else Action.RETRY
        return Failure(action, error.name, "no answer came", "", in_doubt=error.may_have_left)
    code = type(error).__name__
    if isinstance(error, _THE_COMMANDS_FAULT):
        return Failure(Action.DEAD_LETTER, code, str(error), "")
    if isinstance(error, ClientError):
        # Of a service that gives credentials; what Amazon Cognito says is read in answers.py.
        return Failure(Action.PAUSE, str(error.response["Error"].get("Code") or code), str(error), "")
    if isinstance(error, BotoCoreError):
        # Credentials, settings, profiles: nothing that another command could do better.
        return Failure(Action.PAUSE, code, str(error), "")
    return Failure(Action.RETRY, code, "the answer could not be read", "", in_doubt=True)

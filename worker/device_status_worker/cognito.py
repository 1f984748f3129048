"""The calls to Amazon Cognito: one request on the wire each, over one cached client a target."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from device_status.command import DeviceStatusCommand, parse_command
from device_status.outcomes import Claimed
from device_status.targets import Target
from device_status_worker.answers import failure_in
from device_status_worker.aws_http import CALL_TIMEOUT, AwsHttp, as_botocore
from device_status_worker.failures import NOT_REACHED, Action, Failure, classify
from device_status_worker.gate import Slot
from device_status_worker.roles import session_for

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

MOST_CLIENTS: Final = 200
"""That are kept, one a target."""
PAGE: Final = 60
"""The most that AdminListDevices and ListUsers give at once."""

_NOBODY: Final = "device-status-doctor-nobody"
_AT_ANY_TIME: Final = Slot(send_before=math.inf, degraded=False, name="")
"""For requests by hand, which no gate counts."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Succeeded:
    """AWS accepted the call."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list."""

    items: Sequence[Any] = field(repr=False)
    """As boto3 gives them."""
    token: str
    """For the next page; empty on the last."""
    request_id: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Claim or slot were over before the request could leave: it was not sent."""


class _TooLateError(Exception):
    """Raised inside botocore just before the request would leave."""


class _FailedError(Exception):
    """Carries what an answer says through botocore, which would read it in its own way."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class Cognito:
    """Calls Amazon Cognito; safe to share among threads.

    Credentials, endpoint and profile come from where boto3 finds them.

    Parameters:
        connections: how many requests may be under way at once.
    """

    def __init__(self, connections: int) -> None:
        self._http = AwsHttp(connections)
        self._lock = threading.Lock()
        self._sessions: dict[str, boto3.session.Session] = {}
        self._clients: dict[tuple[str, str], CognitoIdentityProviderClient] = {}
        self._send_before = threading.local()

    def update_device_status(
        self, claim: Claimed, target: Target, slot: Slot
    ) -> Succeeded | Failure | NotSent:
        """Send one request for the claimed command, unless claim or slot are over when it would leave."""
        command = claim.command
        return self._call(target, claim.ends_at, slot, lambda client: Succeeded(_update(client, command)))

    def list_devices(
        self, target: Target, user_pool_id: str, username: str, token: str, ends_at: float, slot: Slot
    ) -> Page | Failure | NotSent:
        """A page of a user's devices, under a lease that ends at `ends_at` on the monotonic clock."""
        return self._call(
            target,
            ends_at,
            slot,
            lambda client: _page(
                client.admin_list_devices(
                    UserPoolId=user_pool_id, Username=username, Limit=PAGE, **_from_token(token)
                ),
                "Devices",
            ),
        )

    def list_users(
        self, target: Target, user_pool_id: str, token: str, ends_at: float, slot: Slot
    ) -> Page | Failure | NotSent:
        """A page of a pool's users; as `list_devices`."""
        return self._call(
            target,
            ends_at,
            slot,
            lambda client: _page(
                # Without their attributes: what is not asked for can't leak.
                client.list_users(
                    UserPoolId=user_pool_id, Limit=PAGE, AttributesToGet=[], **_from_token(token)
                ),
                "Users",
            ),
        )

    def try_update(self, target: Target, user_pool_id: str) -> Succeeded | Failure | NotSent:
        """Ask to change a device of a user that does not exist: changes nothing, shows what is allowed."""
        command = parse_command(
            {
                "user_pool_id": user_pool_id,
                "username": _NOBODY,
                "device_key": f"{target.region}_00000000-0000-4000-8000-000000000000",
                "status": "not_remembered",
            }
        )
        return self._call(target, math.inf, _AT_ANY_TIME, lambda client: Succeeded(_update(client, command)))

    def try_list(self, target: Target, user_pool_id: str) -> Page | Failure | NotSent:
        """Ask for the devices of the same user."""
        return self.list_devices(target, user_pool_id, _NOBODY, "", math.inf, _AT_ANY_TIME)

    def warm_up(self, command: DeviceStatusCommand, target: Target) -> None:
        """Do what a target's first request would do slowly: credentials, endpoint rules, signer.

        Meant for before a slot is taken, so that none passes unused meanwhile. Errors are left to the
        request itself, which meets them again.
        """
        if _name(target) in self._clients:
            return
        with suppress(Exception):
            client = self._client(target)
            self._send_before.time = 0.0
            _update(client, command)

    def _call(
        self,
        target: Target,
        ends_at: float,
        slot: Slot,
        request: Callable[[CognitoIdentityProviderClient], Answer],
    ) -> Answer | Failure | NotSent:
        try:
            client = self._client(target)
            self._send_before.time = min(ends_at - CALL_TIMEOUT, slot.send_before)
            return request(client)
        except _TooLateError:
            return NotSent()
        except _FailedError as error:
            return error.failure
        except Exception as error:
            failure = classify(error)
            if failure.code in NOT_REACHED and _is_known(target.region):
                # The network, and no typing error in the pool's Region, which would go on forever.
                return replace(failure, action=Action.BACK_OFF)
            return failure

    def _client(self, target: Target) -> CognitoIdentityProviderClient:
        name = _name(target)
        client = self._clients.get(name)
        if client is None:
            # boto3's sessions are not safe to share among threads; the clients they make are. One session for
            # all Regions: each would read the service's model anew, of 10 MB.
            with self._lock:
                client = self._clients.get(name)
                if client is None:
                    client = self._new_client(target)
                    client.meta.events.register("before-send.cognito-identity-provider", self._send)  # type: ignore[arg-type]
                    # What names a Region comes from outside.
                    if len(self._clients) >= MOST_CLIENTS:
                        del self._clients[next(iter(self._clients))]
                    self._clients[name] = client
        return client

    def _new_client(self, target: Target) -> CognitoIdentityProviderClient:
        if target.role_arn not in self._sessions:
            self._sessions[target.role_arn] = session_for(target, self._http)
        return self._sessions[target.role_arn].client(
            "cognito-idp",
            region_name=target.region,
            config=Config(
                # botocore's own retries would reach AWS past the gate.
                retries={"total_max_attempts": 1},
                user_agent_extra="device-status",
            ),
        )

    def _send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        # Before the time is looked at: to read the certificates takes longer than a slot lasts.
        self._http.prepare(request.url)
        # A process that was stopped for longer than the lease goes on exactly here: by now another worker
        # may have applied a newer command, which this request would undo. And requests held up by a busy
        # host must not leave together: that would be more in one second than the quota.
        if time.monotonic() > self._send_before.time:
            raise _TooLateError
        answer = self._http.send(request)
        if failure := failure_in(answer, operation=event_name.rpartition(".")[2]):
            raise _FailedError(failure)
        return as_botocore(request, answer)


def _update(client: CognitoIdentityProviderClient, command: DeviceStatusCommand) -> str:
    answer = client.admin_update_device_status(
        UserPoolId=command.user_pool_id,
        Username=command.username,
        DeviceKey=command.device_key,
        DeviceRememberedStatus=command.status.value,
    )
    return str(answer["ResponseMetadata"]["RequestId"])


def _page(answer: Any, name: str) -> Page:
    return Page(answer[name], answer.get("PaginationToken", ""), answer["ResponseMetadata"]["RequestId"])


def _from_token(token: str) -> dict[str, Any]:
    return {"PaginationToken": token} if token else {}


def _name(target: Target) -> tuple[str, str]:
    return target.role_arn, target.region


@cache
def _is_known(region: str) -> bool:
    """Whether botocore knows that Amazon Cognito is there; it may be too old for a new Region."""
    session = botocore.session.get_session()
    return any(
        region in session.get_available_regions("cognito-idp", partition_name=partition)
        for partition in session.get_available_partitions()
    )

"""The call to Amazon Cognito: one request on the wire each, over one cached client a Region."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from device_status.command import DeviceStatusCommand
from device_status.outcomes import Claimed
from device_status_worker.failures import Failure, classify
from device_status_worker.gate import Slot

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

CONNECT_TIMEOUT: Final = 3
"""Seconds; with the read timeout and the wait for a slot it stays well under a claim's lease."""
READ_TIMEOUT: Final = 10
"""Seconds."""
CALL_TIMEOUT: Final = CONNECT_TIMEOUT + READ_TIMEOUT
"""Seconds that a claim must still last when its request leaves."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """AWS accepted the call."""

    request_id: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Claim or slot were over before the request could leave: it was not sent."""


class _TooLateError(Exception):
    """Raised inside botocore just before the request would leave."""


class Cognito:
    """Calls AdminUpdateDeviceStatus; safe to share among threads.

    Credentials, endpoint and profile come from where boto3 finds them.

    Parameters:
        connections: how many requests may be under way at once.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._clients: dict[str, CognitoIdentityProviderClient] = {}
        self._send_before = threading.local()

    def update_device_status(self, claim: Claimed, slot: Slot) -> Succeeded | Failure | NotSent:
        """Send one request for the claimed command, unless claim or slot are over when it would leave."""
        try:
            client = self._client(claim.command.region)
            self._send_before.time = min(claim.ends_at - CALL_TIMEOUT, slot.send_before)
            return Succeeded(_send(client, claim.command))
        except _TooLateError:
            return NotSent()
        except Exception as error:
            return classify(error)

    def warm_up(self, command: DeviceStatusCommand) -> None:
        """Do what a Region's first request would do slowly: credentials, endpoint rules, signer.

        Meant for before a slot is taken, so that none passes unused meanwhile. Errors are left to the
        request itself, which meets them again.
        """
        if command.region in self._clients:
            return
        with suppress(_TooLateError, BotoCoreError):
            client = self._client(command.region)
            self._send_before.time = 0.0
            _send(client, command)

    def _client(self, region: str) -> CognitoIdentityProviderClient:
        if region not in self._clients:
            # boto3's sessions are not safe to share among threads; the clients they make are.
            with self._lock:
                if region not in self._clients:
                    client = _new_client(region, self._connections)
                    client.meta.events.register("before-send.cognito-identity-provider", self._check_time)
                    self._clients[region] = client
        return self._clients[region]

    def _check_time(self, **_: Any) -> None:
        # A process that was stopped for longer than the lease goes on exactly here: by now another worker
        # may have applied a newer command, which this request would undo. And requests held up by a busy
        # host must not leave together: that would be more in one second than the quota.
        if time.monotonic() > self._send_before.time:
            raise _TooLateError


def _send(client: CognitoIdentityProviderClient, command: DeviceStatusCommand) -> str:
    answer = client.admin_update_device_status(
        UserPoolId=command.user_pool_id,
        Username=command.username,
        DeviceKey=command.device_key,
        DeviceRememberedStatus=command.status.value,
    )
    return str(answer["ResponseMetadata"].get("RequestId", ""))


def _new_client(region: str, connections: int) -> CognitoIdentityProviderClient:
    return boto3.session.Session().client(
        "cognito-idp",
        region_name=region,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            # botocore's own retries would reach AWS past the gate.
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
            tcp_keepalive=True,
            user_agent_extra="device-status",
        ),
    )

"""A local Amazon Cognito: moto's, with the four device operations it lacks, and with faults on demand.

In a test:

    with LocalCognito() as cognito:
        pool = cognito.create_pool()
        cognito.add_user(pool, "u1")
        key = cognito.add_device(pool, "u1")
        os.environ.update(cognito.environment())
        boto3.client("cognito-idp").admin_update_device_status(…)
        assert cognito.device_status(pool, "u1", key) == "not_remembered"
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from . import pools
from .devices import Devices
from .faults import Faults
from .front import Front
from .pools import DEFAULT_ACCOUNT, DEFAULT_REGION, Scope
from .probe import free_port
from .quota import Quota
from .request_log import Request, RequestLog
from .server import Server
from .shapes import STATUSES, is_valid


class LocalCognito:
    """Serves in daemon threads of this process; a context manager, or `start` and `stop`.

    Parameters:
        port: 0 takes a free one. A later `start` after `stop` uses the same again, with all pools and devices
            as they were: a service that was away for a while.
        host: The address to listen on. Nothing checks a signature: keep it on the loopback interface.
        quota: Requests a second by operation, `{"AdminUpdateDeviceStatus": 25}`, for each account and Region;
            beyond it the answer is TooManyRequestsException. May be changed later, in `quota`.
        seed: Of the random numbers behind `faults` with a probability.
        log_size: How many requests `requests` keeps.

    Pools and users are in moto's backend, which all instances in a process share; devices, faults, quota and
    log are the instance's own. Leaving the context deletes the pools that were made with `create_pool`.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        quota: Mapping[str, int] | None = None,
        seed: int = 0,
        log_size: int = 100_000,
    ) -> None:
        self._host = host
        self._port = port
        self._server: Server | None = None
        self._devices = Devices()
        self._log = RequestLog(log_size)
        self._quota = Quota(quota or {})
        self._scopes: dict[str, Scope] = {}
        self.faults = Faults(seed)
        self._front = Front(self._devices, self.faults, self._quota, self._log)

    def start(self) -> Self:
        """Serves from now on. Raises `OSError` where the port is taken; does nothing if it serves already."""
        if self._server is None:
            self._server = self._bind()
            self._port = self._server.server_port
            self._server.start()
        return self

    def stop(self) -> None:
        """Closes the port and all connections; requests that wait for a fault's time end by a reset."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        for pool_id, scope in self._scopes.items():
            pools.delete_pool(scope, pool_id)
        self._scopes.clear()

    @property
    def port(self) -> int:
        """The port, known once it was started."""
        return self._port

    @property
    def url(self) -> str:
        """The endpoint, for `endpoint_url` of a boto3 client."""
        return f"http://{self._host}:{self._port}"

    def environment(self, region: str = DEFAULT_REGION) -> dict[str, str]:
        """The variables with which boto3, in any process, calls this and nothing else.

        `AWS_REGION` is what the AWS SDKs share, `AWS_DEFAULT_REGION` the one botocore reads. STS goes here
        too, to moto's, so that assuming a role never leaves the machine; and no metadata service is asked for
        credentials.
        """
        return {
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": self.url,
            "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def quota(self) -> dict[str, int]:
        """The quota by operation: change it at will."""
        return self._quota.limits

    @property
    def requests(self) -> list[Request]:
        """What was asked so far, in the order of arrival: a copy."""
        return self._log.all()

    def clear_requests(self) -> None:
        """Empties `requests`."""
        self._log.clear()

    def wait_for_requests(self, count: int, timeout: float = 10.0, *, answered: bool = False) -> bool:
        """Waits until `requests` has `count` entries; with `answered`, until so many are not pending.

        False if that did not happen within `timeout` seconds.
        """
        return self._log.wait_for(count, timeout, answered=answered)

    def create_pool(
        self, region: str = DEFAULT_REGION, *, device_tracking: bool = True, account: str = DEFAULT_ACCOUNT
    ) -> str:
        """A new user pool's id. An account other than the default is reached with a role's credentials."""
        scope = Scope(account, region)
        pool_id = pools.create_pool(scope, device_tracking=device_tracking)
        self._scopes[pool_id] = scope
        return pool_id

    def add_user(self, pool_id: str, username: str) -> None:
        """A new user. Raises `ValueError` for a username that Cognito would refuse, or that exists."""
        if not is_valid("Username", username):
            raise ValueError("Amazon Cognito takes no such username.")
        pools.add_user(self._scope(pool_id), pool_id, username)

    def add_device(
        self,
        pool_id: str,
        username: str,
        device_key: str | None = None,
        status: str = "remembered",
        *,
        name: str = "Local device",
    ) -> str:
        """A new device's key, made up unless given. Raises `ValueError` for what Cognito would refuse."""
        key = device_key or f"{self._scope(pool_id).region}_{uuid.uuid4()}"
        if not is_valid("DeviceKey", key) or status not in STATUSES:
            raise ValueError("Amazon Cognito takes no such device key or status.")
        self._devices.add(self._sub(pool_id, username), key, status, name)
        return key

    def device_status(self, pool_id: str, username: str, device_key: str) -> str:
        """The status now. Raises `KeyError` where the user or the device does not exist."""
        return self._devices.get(self._sub(pool_id, username), device_key).status

    def devices(self, pool_id: str) -> Iterator[tuple[str, str, str]]:
        """(username, device key, status) of every device of a pool."""
        for user in pools.users(pools.find_pool(self._scope(pool_id), pool_id)):
            for device in self._devices.of(user.sub):
                yield user.username, device.key, device.status

    def _bind(self) -> Server:
        if self._port:
            return Server(self._host, self._port, self._front.answer)
        while True:
            try:
                return Server(self._host, free_port(), self._front.answer)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # else: somebody was faster
                    raise

    def _scope(self, pool_id: str) -> Scope:
        # A pool that was made over HTTP, not here, is taken for one of the default account.
        return self._scopes.get(pool_id) or Scope(DEFAULT_ACCOUNT, pool_id.rpartition("_")[0])

    def _sub(self, pool_id: str, username: str) -> str:
        user = pools.find_user(pools.find_pool(self._scope(pool_id), pool_id), username)
        if user is None:
            raise KeyError("This user does not exist.")
        return user.sub

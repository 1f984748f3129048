"""AWS credentials for a target: the workers' own, or those of a role that they take on in another account."""

from __future__ import annotations

import time
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError

from device_status.targets import Target
from device_status_worker.aws_http import AwsHttp

FAILED_FOR: Final = 10.0
"""Seconds for which a role that could not be taken on is not asked for again: botocore lets threads ask one
after the other, and each would wait anew while its command is claimed."""
_SESSION_NAME: Final = "device-status"
"""Stands in CloudTrail beside each request."""
_MAIN_REGIONS: Final = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Whose STS is asked where the workers have no Region of their own, by the partition of the role."""
_STS: Final = Config(retries={"total_max_attempts": 1})


def session_for(target: Target, http: AwsHttp) -> boto3.session.Session:
    """A session whose clients, in any Region, have the credentials of the target's account.

    Parameters:
        http: sends the requests by which they are fetched.
    """
    if not target.role_arn:
        own = boto3.session.Session()
        http.bound_credentials(own.events)
        return own
    session = botocore.session.get_session()
    session.get_component("credential_provider").providers.insert(0, _Role(target, http))
    return boto3.session.Session(botocore_session=session)


class _Role(CredentialProvider):
    """botocore's way to take on a role and to renew it in time, for one that no profile names."""

    METHOD = "assume-role"

    def __init__(self, target: Target, http: AwsHttp) -> None:
        super().__init__()
        self._role_arn = target.role_arn
        self._own = botocore.session.get_session()
        http.bound_credentials(self._own.get_component("event_emitter"))
        # Not the pool's Region: it comes with a command, and may be none.
        partition = target.role_arn.split(":")[1]
        self._region = self._own.get_config_variable("region") or _MAIN_REGIONS.get(partition, target.region)
        self._failure: CredentialRetrievalError | None = None
        self._failed_until = 0.0

    def load(self) -> Any:
        """Credentials that are fetched with the first request."""
        own = self._own.get_credentials()
        if own is None:
            raise NoCredentialsError
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._create_client,
            source_credentials=own,
            role_arn=self._role_arn,
            extra_args={"RoleSessionName": _SESSION_NAME},
        )
        return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=lambda: self._fetch(fetcher))

    def _fetch(self, fetcher: AssumeRoleCredentialFetcher) -> Any:
        if self._failure is not None and time.monotonic() < self._failed_until:
            raise self._failure
        try:
            return fetcher.fetch_credentials()
        except (BotoCoreError, ClientError) as error:
            # Whatever it is, it is no fault of the command, and the command's request has not left.
            self._failure = CredentialRetrievalError(provider=self.METHOD, error_msg=str(error))
            self._failed_until = time.monotonic() + FAILED_FOR
            raise self._failure from error

    def _create_client(self, service: str, **keys: Any) -> Any:
        return self._own.create_client(service, region_name=self._region, config=_STS, **keys)

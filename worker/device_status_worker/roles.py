"""AWS credentials for a target: the workers' own, or those of a role that they take on in another account."""

from __future__ import annotations

from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import NoCredentialsError

from device_status.targets import Target

_SESSION_NAME: Final = "device-status"
"""Stands in CloudTrail beside each request."""
# Asked while a command is claimed, so it must answer well before the lease is over.
_STS: Final = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})


def session_for(target: Target) -> boto3.session.Session:
    """A session whose clients have the target's credentials."""
    if not target.role_arn:
        return boto3.session.Session()
    session = botocore.session.get_session()
    session.get_component("credential_provider").providers.insert(0, _Role(target))
    return boto3.session.Session(botocore_session=session)


class _Role(CredentialProvider):
    """botocore's way to take on a role and to renew it in time, for one that no profile names."""

    METHOD = "assume-role"

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self._own = botocore.session.get_session()

    def load(self) -> Any:
        """Credentials that are fetched with the first request."""
        own = self._own.get_credentials()
        if own is None:
            raise NoCredentialsError
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._create_client,
            source_credentials=own,
            role_arn=self._target.role_arn,
            extra_args={"RoleSessionName": _SESSION_NAME},
        )
        return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=fetcher.fetch_credentials)

    def _create_client(self, service: str, **keys: Any) -> Any:
        return self._own.create_client(service, region_name=self._target.region, config=_STS, **keys)

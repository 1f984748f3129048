"""User pools and users, which moto keeps: how the device operations reach them without HTTP.

moto's backend is one for the whole process and is not made for threads, so everything that changes it, here
or through its HTTP app, holds `MOTO_LOCK`. A look-up of one pool or one user is a `dict.get` and needs no
lock.

moto is imported on first use: it takes about a second, and what only starts a server need not wait for it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .wire import AwsError

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey
    from moto.cognitoidp.models import CognitoIdpBackend, CognitoIdpUser, CognitoIdpUserPool

DEFAULT_ACCOUNT = "123456789012"  # moto's own default, for every access key that its IAM or STS did not make
DEFAULT_REGION = "us-east-1"  # moto's own default, for a request that is not signed

MOTO_LOCK = threading.RLock()

_SIGNING_KEYS: dict[str, RSAKey] = {}

# Authorization: AWS4-HMAC-SHA256 Credential=<access key>/<date>/<region>/cognito-idp/aws4_request, …
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/,\s]+)/")


@dataclass(frozen=True)
class Scope:
    """The account and Region that a request is for, by its signature: what one quota of Cognito covers."""

    account: str
    region: str


@dataclass(frozen=True)
class User:
    """A user of a pool. `sub` is the id that no other user ever gets."""

    username: str
    sub: str


def scope_of(authorization: str) -> Scope:
    """The scope of a SigV4 `Authorization` header, found as moto does: nothing verifies the signature."""
    match = _CREDENTIAL.search(authorization)
    if match is None:
        return Scope(DEFAULT_ACCOUNT, DEFAULT_REGION)
    access_key, region = match.groups()
    # Keys of roles that moto's STS handed out belong to the role's account.
    from moto.iam.models import get_account_id_from  # noqa: PLC0415 (see the module's docstring)

    return Scope(get_account_id_from(access_key), region)


def create_pool(scope: Scope, *, device_tracking: bool) -> str:
    """A new pool's id. Tracking on is what AWS calls "User opt-in": a status is changed only when asked for.

    Raises `ValueError` for a Region that has no Amazon Cognito.
    """
    tracking = {"DeviceOnlyRememberedOnUserPrompt": True, "ChallengeRequiredOnNewDevice": False}
    config = {"DeviceConfiguration": tracking} if device_tracking else {}
    with MOTO_LOCK:
        backend = _backend(scope)
        if backend is None:
            raise ValueError(f"Amazon Cognito has no Region {scope.region!r}.")
        with _signing_key_read_once():
            pool = backend.create_user_pool("local", config)
        return pool.id


def delete_pool(scope: Scope, pool_id: str) -> None:
    """Forgets a pool, if moto still has it."""
    with MOTO_LOCK:
        backend = _backend(scope)
        if backend is not None:
            backend.user_pools.pop(pool_id, None)


def add_user(scope: Scope, pool_id: str, username: str) -> None:
    """A new user. Raises `ResourceNotFoundException` without the pool, `ValueError` if the user exists."""
    with MOTO_LOCK:
        pool = find_pool(scope, pool_id)
        if pool.users.get(username) is not None:
            raise ValueError("This user exists already.")
        pool.backend.admin_create_user(pool_id, username, "SUPPRESS", "Local-Password-1", [])


def find_pool(scope: Scope, pool_id: str) -> CognitoIdpUserPool:
    """moto's pool, or `ResourceNotFoundException` with AWS's message."""
    backend = _backend(scope)
    pool = backend.user_pools.get(pool_id) if backend else None
    if pool is None:
        raise AwsError("ResourceNotFoundException", f"User pool {pool_id} does not exist.")
    return pool


def find_user(pool: CognitoIdpUserPool, username: str) -> User | None:
    """A user, by username or by what the pool lets stand for it (e-mail, phone number)."""
    # moto's own look-up walks over all users of a pool with aliases: only where the plain one fails.
    user = pool.users.get(username)
    if user is None:
        user = cast("CognitoIdpUser | None", pool._get_user(username))  # moto says it is never None
    return None if user is None else User(user.username, user.id)


def users(pool: CognitoIdpUserPool) -> list[User]:
    """All users: a copy, safe to walk while users come and go."""
    with MOTO_LOCK:
        return [User(user.username, user.id) for user in pool.users.values()]


def tracks_devices(pool: CognitoIdpUserPool) -> bool:
    """On as soon as any field of `DeviceConfiguration` has a value, even false: so the API reference says."""
    config = pool.extended_config.get("DeviceConfiguration") or {}
    return any(value is not None for value in config.values())


@contextmanager
def _signing_key_read_once() -> Iterator[None]:
    """moto reads the same private key anew for each pool, 0.1 s of arithmetic: here, for the first only."""
    from unittest import mock  # noqa: PLC0415 (moto has it loaded)

    from joserfc.jwk import RSAKey  # noqa: PLC0415

    read = RSAKey.import_key

    def read_once(*arguments: object) -> RSAKey:
        name = repr(arguments)
        if name not in _SIGNING_KEYS:
            _SIGNING_KEYS[name] = read(*arguments)  # type: ignore[arg-type]
        return _SIGNING_KEYS[name]

    with mock.patch.object(RSAKey, "import_key", read_once):
        yield


def _backend(scope: Scope) -> CognitoIdpBackend | None:
    from moto.cognitoidp.models import cognitoidp_backends  # noqa: PLC0415 (see the module's docstring)

    regions = cognitoidp_backends[scope.account]
    if scope.region not in regions:
        return None
    return regions[scope.region]  # made on demand, so that `get` would not do

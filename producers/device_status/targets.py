"""Targets: the AWS accounts and Regions that user pools live in, how each is reached, and its quotas."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from device_status.command import region_of

OWN_ACCOUNT: Final = "default"
"""Name of the account that the workers' own credentials are of."""

_Quota = Annotated[float | None, Field(gt=0, le=100_000)]


@dataclass(frozen=True, slots=True)
class Quotas:
    """Requests a second that an account and Region allows, by the categories of Amazon Cognito's quotas."""

    update: float
    """UserResourceUpdate: AdminUpdateDeviceStatus."""
    read: float
    """UserResourceRead: AdminListDevices."""
    list_users: float
    """UserList: ListUsers."""


@dataclass(frozen=True, slots=True)
class Target:
    """An AWS account and Region: what a quota belongs to."""

    account: str
    """Its number; `OWN_ACCOUNT` where no role is taken on."""
    region: str
    role_arn: str
    """The role to take on; empty for the workers' own credentials."""
    quotas: Quotas


class Account(BaseModel):
    """What DEVICE_STATUS_TARGETS says of the pools that a pattern names."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    role_arn: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$", max_length=2048)
    update_quota: _Quota = None
    read_quota: _Quota = None
    list_users_quota: _Quota = None

    @property
    def quotas(self) -> tuple[float | None, ...]:
        """Those that it names."""
        return self.update_quota, self.read_quota, self.list_users_quota

    def quotas_over(self, default: Quotas) -> Quotas:
        """Those that it names, and `default` for the others."""
        return Quotas(
            self.update_quota or default.update,
            self.read_quota or default.read,
            self.list_users_quota or default.list_users,
        )

    @property
    def number(self) -> str:
        """Of the AWS account, twelve digits."""
        return self.role_arn.split(":")[4]


Accounts = dict[str, Account]
"""By a pattern of pool ids (`*`, `?`, `[…]`); the first that fits counts."""

_ACCOUNTS: Final = TypeAdapter(Accounts)


def read_accounts(text: str) -> Accounts:
    """From JSON, or from the file with JSON that `text` is the path of; empty where it is empty.

    Raises:
        ValueError: says what is wrong, in one line.
    """
    if not text.strip():
        return {}
    if not text.lstrip().startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"is neither JSON nor a file that can be read ({error.strerror})") from None
    try:
        accounts = _ACCOUNTS.validate_python(json.loads(text))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{where}: {problem['msg']}") from None
    except (ValueError, RecursionError):
        rule = '{"eu-west-1_*": {"role_arn": "arn:aws:iam::123456789012:role/device-status"}}'
        raise ValueError(f"is no JSON; it must be as {rule}") from None
    for (one, first), (other, second) in combinations(accounts.items(), 2):
        if first.number == second.number and first.quotas != second.quotas and _may_meet(one, other):
            raise ValueError(f"{one} and {other} are of one account; give both the same quotas")
    return accounts


def _may_meet(one: str, other: str) -> bool:
    """Whether two patterns may name pools of one Region."""
    regions = {pattern.partition("_")[0] for pattern in (one, other)}
    return len(regions) == 1 or any(set("*?[") & set(region) for region in regions)


def target_of(user_pool_id: str, accounts: Accounts, default: Quotas) -> Target:
    """The account and Region of a pool; a quota that the account does not name is that of `default`."""
    region = region_of(user_pool_id)
    for pattern, account in accounts.items():
        if fnmatchcase(user_pool_id, pattern):
            return Target(account.number, region, account.role_arn, account.quotas_over(default))
    return Target(OWN_ACCOUNT, region, "", default)

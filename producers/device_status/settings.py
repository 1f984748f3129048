"""Every setting, from the environment variables `DEVICE_STATUS_*`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, Final, TypedDict, Unpack

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from device_status.clean import printable
from device_status.durability import Durability
from device_status.errors import SettingsError
from device_status.targets import Accounts, Quotas, Target, read_accounts, target_of
from device_status.tls import check_ca_file
from device_status.urls import BROKER_SCHEMES, LEDGER_SCHEMES, ServerUrl, scheme

_PREFIX: Final = "DEVICE_STATUS_"
_OF_KUBERNETES: Final = re.compile(
    r"DEVICE_STATUS_(\w+_)?"
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)",
    re.ASCII,
)
"""What Kubernetes puts into pods for services whose names begin with device-status."""

SHORTEST_RETENTION = timedelta(hours=1)
"""Longer by far than anything that may still ask for an outcome or a fence: a claim's lease and a listing's
(60 s), the broker's visibility timeout (120 s), a request that takes effect late (30 s), clocks that run
ahead (5 min), producers that repeat a call."""


def _seconds_or_iso_8601(value: object) -> object:
    """Environment variables are text, and pydantic takes a bare number of seconds only as a number."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(_seconds_or_iso_8601)]


class SettingsFields(TypedDict, total=False):
    """The settings as `load_settings` and `Producer` take them as keywords: for type checkers and editors."""

    broker_url: str
    ledger_url: str
    durability: str
    update_quota: float
    read_quota: float
    list_users_quota: float
    concurrency: int
    retention: timedelta | float | str
    allow_short_retention: bool
    targets: str
    max_attempts: int
    max_age: timedelta | float | str
    incident_webhook: str
    incident_webhook_secret: str
    incident_webhook_ca: str


class Settings(BaseSettings):
    """What the producers, the workers and the CLI read from the environment.

    Raises:
        SettingsError: as `load_settings`.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    broker_url: str = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description=f"Celery's broker: {', '.join(f'{name}://' for name in BROKER_SCHEMES)}.",
    )
    ledger_url: str = Field(
        "",
        repr=False,
        description="The Redis or Valkey that holds the state. Default: the broker's, where that is Redis.",
    )
    durability: str = Field(
        "memory",
        description="What an accepted command survives: `memory`, `fsync` (a crash of the ledger's machine), "
        "`replica` or `replica:N` (a failover; N replicas have it).",
    )
    update_quota: float = Field(
        25, gt=0, le=100_000, description="Requests a second for AdminUpdateDeviceStatus, per target."
    )
    read_quota: float = Field(
        50,
        gt=0,
        le=100_000,
        description="Requests a second for AdminListDevices and AdminGetDevice.",
    )
    list_users_quota: float = Field(
        30, gt=0, le=100_000, description="Requests a second for ListUsers (incidents with --all-users)."
    )
    concurrency: int = Field(16, ge=1, le=1_000, description="Threads of one worker process.")
    retention: Duration = Field(
        timedelta(days=7),
        ge=timedelta(seconds=1),
        le=timedelta(days=3650),
        description="How long outcomes and dead letters are kept, at least PT1H: ISO 8601 or seconds.",
    )
    allow_short_retention: bool = Field(
        False, description="For tests: whether the retention may be less than an hour."
    )
    targets: str = Field(
        "",
        repr=False,
        description="Other AWS accounts, as JSON or a file's path: pool id pattern → role ARN, quotas.",
    )
    max_attempts: int = Field(12, ge=1, description="Attempts after which a command is given up.")
    max_age: Duration = Field(
        timedelta(hours=24),
        ge=timedelta(seconds=1),
        description="Age since the first attempt at which a retried command is given up.",
    )
    incident_webhook: str = Field(
        "", repr=False, description="URL that is told, by a POST of JSON, that an incident has ended."
    )
    incident_webhook_secret: str = Field(
        "", repr=False, description="Key of the HMAC-SHA-256 that signs what the webhook sends."
    )
    incident_webhook_ca: str = Field(
        "",
        description="PEM file with the authority of the webhook's receiver. Default: the system's.",
    )

    def __init__(self, **values: Unpack[SettingsFields]) -> None:
        _check_names(values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    def model_post_init(self, _context: Any) -> None:
        """Check what one field alone can't show."""
        if self.retention < SHORTEST_RETENTION and not self.allow_short_retention:
            raise SettingsError(
                f"DEVICE_STATUS_RETENTION: is {self.retention.total_seconds():g} seconds; the rule is "
                f"at least {SHORTEST_RETENTION.total_seconds():g}, or what is under way would be forgotten"
            )
        _check_url("BROKER_URL", self.broker_url, BROKER_SCHEMES)
        if not self.ledger_url and scheme(self.broker_url) not in LEDGER_SCHEMES:
            raise SettingsError(
                "DEVICE_STATUS_LEDGER_URL: is not set, and the broker is not a Redis that could hold the "
                "ledger; set it to a redis:// or rediss:// URL"
            )
        if self.ledger_url:
            _check_url("LEDGER_URL", self.ledger_url, LEDGER_SCHEMES)
        try:
            _ = self.required_durability
        except ValueError as error:
            raise SettingsError(f"DEVICE_STATUS_DURABILITY: {error}") from None
        try:
            _ = self.accounts
        except ValueError as error:
            raise SettingsError(f"DEVICE_STATUS_TARGETS: {error}") from None
        if self.incident_webhook and scheme(self.incident_webhook) not in ("http", "https"):
            raise SettingsError("DEVICE_STATUS_INCIDENT_WEBHOOK: must be an http:// or https:// URL")
        if self.incident_webhook and not self.incident_webhook_secret:
            raise SettingsError(
                "DEVICE_STATUS_INCIDENT_WEBHOOK_SECRET: is not set; it signs the notices, so that "
                "their receiver can tell them from others"
            )
        if self.incident_webhook_ca:
            try:
                check_ca_file("DEVICE_STATUS_INCIDENT_WEBHOOK_CA", self.incident_webhook_ca)
            except ValueError as error:
                raise SettingsError(str(error)) from None

    @cached_property
    def ledger(self) -> str:
        """URL of the Redis that holds the ledger."""
        return self.ledger_url or self.broker_url

    @cached_property
    def required_durability(self) -> Durability:
        """What a write to the ledger must survive before it counts."""
        return Durability.parse(self.durability)

    @cached_property
    def accounts(self) -> Accounts:
        """The AWS accounts besides the workers' own."""
        return read_accounts(self.targets)

    @property
    def quotas(self) -> Quotas:
        """Those of the workers' own account, and of others that name none."""
        return Quotas(self.update_quota, self.read_quota, self.list_users_quota)

    def target(self, user_pool_id: str) -> Target:
        """The AWS account and Region that a pool lives in, and its quotas."""
        return target_of(user_pool_id, self.accounts, self.quotas)


def load_settings(**overrides: Unpack[SettingsFields]) -> Settings:
    """Read the environment; `overrides` win over it.

    Raises:
        SettingsError: names the variable, what is wrong with it and what it must be.
    """
    return Settings(**overrides)


def _explain(error: ValidationError) -> str:
    """One line for a person."""
    return "; ".join(
        f"DEVICE_STATUS_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )


def _check_names(keywords: Iterable[str]) -> None:
    """Raises SettingsError for what would be ignored: most likely it is misspelled."""
    problems = [_explain_name(name, name, "") for name in keywords if name not in Settings.model_fields]
    for name, value in sorted(os.environ.items()):
        # pydantic-settings reads a name in either case, and takes an empty variable for one that is not set.
        prefix, rest = name[: len(_PREFIX)].upper(), name[len(_PREFIX) :].lower()
        is_ours = value and prefix == _PREFIX and not _OF_KUBERNETES.fullmatch(name)
        if is_ours and rest not in Settings.model_fields:
            problems.append(_explain_name(name, rest, _PREFIX))
    if problems:
        raise SettingsError("; ".join(problems))


def _explain_name(name: str, field: str, prefix: str) -> str:
    nearest = get_close_matches(field, Settings.model_fields, n=1)
    meant = f"{prefix}{nearest[0].upper() if prefix else nearest[0]}" if nearest else ""
    return f"{printable(name)}: is not a setting; {f'did you mean {meant}?' if meant else 'remove it'}"


def _check_url(name: str, url: str, schemes: Collection[str]) -> None:
    if scheme(url) not in schemes:
        raise SettingsError(
            # What is given in its place may be a password.
            f"DEVICE_STATUS_{name}: the scheme must be one of {', '.join(schemes)}"
        )
    try:
        if tls := ServerUrl.parse(url).tls:
            tls.check_files()
    except ValueError as error:
        raise SettingsError(f"DEVICE_STATUS_{name}: {error}") from None

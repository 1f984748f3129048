"""Every setting, from the environment variables `DEVICE_STATUS_*`."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import urlsplit

import redis
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from device_status.errors import SettingsError
from device_status.sentinel import SCHEME, SentinelUrl
from device_status.targets import Accounts, Quotas, Target, read_accounts, target_of

SHORTEST_RETENTION = timedelta(hours=1)
"""Longer by far than anything that may still ask for an outcome or a fence: a claim's lease and a listing's
(60 s), the broker's visibility timeout (120 s), a request that takes effect late (30 s), clocks that run
ahead (5 min), producers that repeat a call."""

_REDIS_SCHEMES = ("redis", "rediss", "unix", "sentinel")
_BROKER_SCHEMES = ("redis", "rediss", "sentinel", "amqp", "amqps")


def _seconds_or_iso_8601(value: object) -> object:
    """Environment variables are text, and pydantic takes a bare number of seconds only as a number."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(_seconds_or_iso_8601)]


class Settings(BaseSettings):
    """What the producers, the workers and the CLI read from the environment.

    Build it with `load_settings()`, which turns a wrong value into one clear line.
    """

    model_config = SettingsConfigDict(
        env_prefix="DEVICE_STATUS_",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    broker_url: str = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="Celery's broker: redis://, rediss://, sentinel:// or amqp://.",
    )
    ledger_url: str = Field(
        "",
        repr=False,
        description="The Redis or Valkey that holds the state. Default: the broker's, where that is Redis.",
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

    def model_post_init(self, _context: Any) -> None:
        """Check what one field alone can't show."""
        if self.retention < SHORTEST_RETENTION and not self.allow_short_retention:
            raise SettingsError(
                f"DEVICE_STATUS_RETENTION: is {self.retention.total_seconds():g} seconds; the rule is "
                f"at least {SHORTEST_RETENTION.total_seconds():g}, or what is under way would be forgotten"
            )
        for name, url in (("BROKER_URL", self.broker_url), ("LEDGER_URL", self.ledger_url)):
            if problem := _unreadable(url):
                raise SettingsError(f"DEVICE_STATUS_{name}: {problem}")
        if scheme(self.broker_url) not in _BROKER_SCHEMES:
            raise SettingsError(
                f"DEVICE_STATUS_BROKER_URL: the scheme is {scheme(self.broker_url)!r}; "
                f"it must be one of {', '.join(_BROKER_SCHEMES)}"
            )
        if not self.ledger_url and scheme(self.broker_url) not in _REDIS_SCHEMES:
            raise SettingsError(
                "DEVICE_STATUS_LEDGER_URL: is not set, and the broker is no plain Redis that could hold the "
                "ledger; set it to a redis:// or rediss:// URL"
            )
        if scheme(self.ledger) not in _REDIS_SCHEMES:
            raise SettingsError(
                f"DEVICE_STATUS_LEDGER_URL: the scheme is {scheme(self.ledger)!r}; "
                f"it must be one of {', '.join(_REDIS_SCHEMES)}"
            )
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

    @cached_property
    def ledger(self) -> str:
        """URL of the Redis that holds the ledger."""
        return self.ledger_url or self.broker_url

    @cached_property
    def accounts(self) -> Accounts:
        """The AWS accounts besides the workers' own."""
        return read_accounts(self.targets)

    def target(self, user_pool_id: str) -> Target:
        """The AWS account and Region that a pool lives in, and its quotas."""
        default = Quotas(self.update_quota, self.read_quota, self.list_users_quota)
        return target_of(user_pool_id, self.accounts, default)


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; `overrides` win over it.

    Raises:
        SettingsError: names the variable, what is wrong with it and what it must be.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = (
            f"DEVICE_STATUS_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError("; ".join(problems)) from None


def scheme(url: str) -> str:
    """The part before `://`."""
    return url.partition("://")[0] if "://" in url else ""


def without_password(url: str) -> str:
    """`url` as it may be shown: credentials replaced, query dropped (a query may hold a password).

    Works on what is no proper URL as well, since that is when URLs are shown.
    """
    shown = []
    for one in url.split(";"):
        name, separator, rest = one.partition("://")
        _, at, place = rest.rpartition("@")
        shown.append(f"{name}{separator}{'***@' if at else ''}{place.partition('?')[0].partition('#')[0]}")
    return ";".join(shown)


def _unreadable(url: str) -> str | None:
    """Why `url` can't be read, or None. Several may stand in a row, for Sentinel and RabbitMQ."""
    for one in url.split(";"):
        try:
            parts = urlsplit(one)
            _ = parts.port
        except ValueError:
            return "is no proper URL"
        if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
            return "is no proper URL: percent-encode / ? # [ ] @ in its password"
        # redis-py and Celery read anything else each in their own way, and so as two databases.
        if scheme(one) in ("redis", "rediss") and not re.fullmatch(r"/?|/\d+", parts.path):
            return "what follows the host must be the number of a database, as in redis://redis.internal/0"
        if scheme(one) in ("redis", "rediss", "unix") and parts.query:
            try:
                redis.ConnectionPool.from_url(one).make_connection()
            except (ValueError, TypeError, redis.RedisError):
                return "has an option after the question mark that Redis clients do not take"
    if scheme(url) == SCHEME:
        try:
            SentinelUrl.parse(url)
        except ValueError as error:
            return f"is no URL of sentinels: {error}"
    return None

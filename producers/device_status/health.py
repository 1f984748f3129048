"""What a Redis server must be set to so that it can be trusted with the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis

from device_status.durability import Durability, Level
from device_status.ledger import CLOCK, PREFIX
from device_status.server_states import explain, state_of
from device_status.urls import ServerUrl

_RECENT: Final = 86_400
"""Seconds for which a step of the clock is a finding."""


def server_warnings(client: Any, *, name: str) -> list[str]:
    """What is wrong with the settings of a Redis or Valkey, each with what to do about it.

    Parameters:
        client: as `scripts.connect` makes it.
        name: what the server is here: `ledger` or `broker`.

    Raises:
        redis.RedisError: the server does not answer.
    """
    warnings = []
    # INFO and not CONFIG: managed services forbid the latter.
    memory, persistence = client.info("memory"), client.info("persistence")
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"{name}: maxmemory-policy is {policy}: when memory runs out, commands vanish without a sign; "
            "set it to noeviction"
        )
    if not persistence.get("aof_enabled"):
        warnings.append(
            f"{name}: the append-only file is off: what the server holds is lost when it restarts; "
            "set appendonly yes"
        )
    elif persistence.get("aof_last_write_status", "ok") != "ok":
        warnings.append(f"{name}: the append-only file could not be written last time; look at its disk")
    return warnings


def connection_warnings(url: str, *, name: str) -> list[str]:
    """What the options of a URL leave unverified, with what to do about it.

    Parameters:
        name: what the server is here: `ledger` or `broker`.
    """
    tls = ServerUrl.parse(url).tls
    if tls is None or tls.check_hostname:
        return []
    if tls.verify:
        return [
            f"{name}: the server's host name is not verified: any holder of a certificate that its authority "
            "issued may pose as it; remove ssl_check_hostname=false"
        ]
    return [
        f"{name}: the server's certificate is not verified: anybody on the way may pose as it and read the "
        "password; set ssl_ca_certs instead of ssl_cert_reqs=none"
    ]


def is_too_old(client: Any) -> str | None:
    """The server's version where it is older than the scripts need (6.2), else None."""
    server = client.info("server")
    return str(server.get("redis_version", "0")) if _version(server) < (6, 2) else None


def _version(server: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in str(server.get("redis_version", "0.0")).split(".")[:2])


def clock_warning(client: Any) -> str | None:
    """What to do about a step of the ledger's clock within the last day; None if no worker saw any.

    Parameters:
        client: as `scripts.connect` makes it.

    Raises:
        redis.RedisError: the server does not answer.
    """
    stepped_at, by, steps = client.hmget(CLOCK, "stepped_at", "stepped_by", "steps")
    if not stepped_at:
        return None
    ago = client.time()[0] - int(stepped_at) / 1000
    # Below 0, it stepped back again and no worker has seen that yet.
    if ago > _RECENT:
        return None
    direction = "forward" if int(by) > 0 else "back"
    return (
        f"its clock stepped {direction} by {abs(int(by)) / 1000:.0f} s {max(0, ago) / 60:.0f} minutes ago "
        f"(steps on record: {steps}); look at the time sync of its host, and whether another host took over"
    )


def ledger_warnings(client: Any) -> list[str]:
    """As `server_warnings` for the ledger, its version included."""
    warnings = server_warnings(client, name="ledger")
    if version := is_too_old(client):
        warnings.append(f"ledger: is of version {version}; 6.2 or later is needed")
    return warnings


@dataclass(frozen=True, slots=True)
class Unmet:
    """A ledger that can't keep what `DEVICE_STATUS_DURABILITY` asks for."""

    text: str
    """Why not, and what to do."""
    may_pass: bool
    """Whether it may come right by itself, as a replica may come back; else a setting must change."""


def unmet_durability(client: Any, durability: Durability) -> Unmet | None:
    """Why writes would not be confirmed, or None. It makes one write, of a marker that expires, and waits.

    Parameters:
        client: as `scripts.connect` makes it.

    Raises:
        redis.RedisError: the server does not answer.
    """
    if not durability.command:
        return None
    if durability.level is Level.FSYNC and (why := _unsynced(client)):
        return Unmet(f"ledger: {why}, or change DEVICE_STATUS_DURABILITY", may_pass=False)
    with client.pipeline(transaction=False) as pipe:
        pipe.set(f"{PREFIX}marker", "", px=60_000)
        pipe.execute_command(*durability.command)
        _, answer = pipe.execute(raise_on_error=False)
    if isinstance(answer, redis.ResponseError):
        state = state_of(answer)
        return Unmet(f"ledger: {explain(answer)}", may_pass=state is None or "WAITAOF" not in state.code)
    if durability.is_confirmed_by(answer):
        return None
    return Unmet(f"ledger: {durability.unconfirmed}", may_pass=True)


def _unsynced(client: Any) -> str | None:
    """Which setting keeps the append-only file from being synced before WAITAOF says so."""
    if not client.info("persistence").get("aof_enabled"):
        return "the append-only file is off, so there is nothing to sync: set appendonly yes"
    try:
        policy = client.config_get("appendfsync").get("appendfsync", "always")
    except redis.ResponseError:
        # Managed services forbid CONFIG; the documentation tells what it must be.
        return None
    if policy == "always":
        return None
    server = client.info("server")
    if policy == "everysec" and "valkey_version" not in server and _version(server) >= (8, 0):
        return None
    return (
        f"appendfsync is {policy}, with which this server confirms a write that its disk does not have yet: "
        "set appendfsync always"
    )

"""What happens to a primary, its replica and their sentinel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from chaos.faults.fault import Fault, Loses, killed
from chaos.servers import WatchedRedis
from device_status_worker.local import EmbeddedValkey
from support.moods import admin_of, kill_clients, stopped
from support.waiting import eventually

_FAILOVER = 60.0
"""Seconds within which the sentinel must have made another the primary, and the old one a replica."""


def faults(ledger: WatchedRedis) -> dict[str, Fault]:
    """By kind."""
    takeover = replace(Fault(partial(_failed_over, ledger)), loses=Loses.ONE_PER_WORKER, rolls_back=True)
    return {
        "failover in order": takeover,
        "primary killed": replace(takeover, begin=partial(_primary_killed, ledger)),
        "primary hangs and is replaced": replace(takeover, begin=partial(_primary_hung, ledger)),
        "replica killed": Fault(partial(_replica_killed, ledger)),
        "connections closed": Fault(partial(_closed, ledger), (0.0, 1.0), Loses.ONE_PER_WORKER),
        "sentinel hangs": Fault(partial(_sentinel_hung, ledger), loses=Loses.ONE_PER_WORKER),
    }


@contextmanager
def _failed_over(ledger: WatchedRedis) -> Iterator[None]:
    with _complete(ledger):
        old = ledger.sentinels.primary
        ledger.sentinels.fail_over()
        _replaced(ledger, old)
        yield


@contextmanager
def _primary_killed(ledger: WatchedRedis) -> Iterator[None]:
    with _complete(ledger):
        old = ledger.sentinels.primary
        with killed(old):
            _replaced(ledger, old)
            yield


@contextmanager
def _primary_hung(ledger: WatchedRedis) -> Iterator[None]:
    with _complete(ledger):
        old = ledger.sentinels.primary
        with stopped(old.pid):
            _replaced(ledger, old)
            yield


@contextmanager
def _replica_killed(ledger: WatchedRedis) -> Iterator[None]:
    """The primary refuses to write: it has too few."""
    with _complete(ledger), killed(ledger.sentinels.replica):
        yield


@contextmanager
def _closed(ledger: WatchedRedis) -> Iterator[None]:
    _close_connections(ledger.sentinels.primary)
    yield


@contextmanager
def _sentinel_hung(ledger: WatchedRedis) -> Iterator[None]:
    """Nobody says where the primary is, and all must ask."""
    with _complete(ledger):
        primary = ledger.sentinels.primary
        with stopped(ledger.sentinels.pid):
            _close_connections(primary)
            yield


@contextmanager
def _complete(ledger: WatchedRedis) -> Iterator[None]:
    """Begin with two servers, and leave two."""
    eventually(ledger.sentinels.is_complete, "there is a primary with a replica", _FAILOVER)
    try:
        yield
    finally:
        eventually(ledger.sentinels.is_complete, "there is a primary with a replica", _FAILOVER)


def _replaced(ledger: WatchedRedis, old: EmbeddedValkey) -> None:
    eventually(lambda: ledger.sentinels.primary is not old, "another is the primary", _FAILOVER)


def _close_connections(server: EmbeddedValkey) -> None:
    with admin_of(server) as admin:
        kill_clients(admin)

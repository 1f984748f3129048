"""What happens to the one Redis that is the ledger, and the broker where there is no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

from chaos.faults.fault import Fault, Loses, killed
from chaos.servers import OneRedis
from device_status_worker.local import EmbeddedValkey
from support.moods import LASTING, PASSING, admin_of, unblock
from support.servers import HOST
from support.waiting import eventually

_ENDS_CONNECTIONS = {
    "WRONGPASS",
    "max number of clients reached",
    "CLUSTERDOWN",
    "not Redis",
    "refused",
    # A worker gives up its connection after 4 s.
    "silence",
    "BUSY",
    "LOADING",
}
_LONG = {"silence": (1.0, 7.0)}
"""Shorter and longer than a call waits; what was asked meanwhile is done late."""


_STEPS = (-600.0, -120.0, -5.0, 5.0, 120.0, 600.0)
"""Seconds."""


def faults(ledger: OneRedis) -> dict[str, Fault]:
    """By kind."""
    lasting = {
        mood: Fault(
            partial(enter, ledger.endpoint),
            _LONG.get(mood, (1.0, 4.0)),
            Loses.ONE_PER_WORKER if mood in _ENDS_CONNECTIONS else Loses.NOTHING,
        )
        for mood, enter in LASTING.items()
    }
    others = {
        "closed": Fault(partial(_closed, ledger), (0.0, 1.0), Loses.ONE_PER_WORKER),
        "UNBLOCKED": Fault(partial(_unblocked, ledger), (0.0, 1.0), Loses.ONE_PER_WORKER),
        "killed and restarted": Fault(partial(_killed, ledger), (0.0, 3.0), Loses.ONE_PER_WORKER),
        "fails over, and keeps its connections": Fault(
            partial(_failed_over, ledger), (1.0, 4.0), Loses.ONE_PER_WORKER
        ),
    }
    return lasting | others


def steps_of_the_clock(ledger: OneRedis, chance: Random) -> dict[str, Fault]:
    """By kind; none of a server whose clock can't be set."""
    fault = Fault(partial(_stepped, ledger, chance))
    return {"its clock steps, and back": fault} if ledger.has_clock else {}


def faults_of_a_broker_without_disk(server: EmbeddedValkey) -> dict[str, Fault]:
    """By kind."""
    return {"killed with all its messages": Fault(partial(killed, server), (0.0, 1.0), Loses.ALL)}


@contextmanager
def _closed(ledger: OneRedis) -> Iterator[None]:
    PASSING["closed"](ledger.endpoint)
    yield


@contextmanager
def _unblocked(ledger: OneRedis) -> Iterator[None]:
    # With all threads at work, no worker waits.
    unblock(ledger.endpoint)
    yield


@contextmanager
def _stepped(ledger: OneRedis, chance: Random) -> Iterator[None]:
    ledger.set_clock(chance.choice(_STEPS))
    try:
        yield
    finally:
        ledger.set_clock(0)


@contextmanager
def _killed(ledger: OneRedis) -> Iterator[None]:
    # Whichever it is by then.
    with killed(ledger.endpoint.server):
        yield


def _follows(new: Any, old: Any) -> bool:
    """Both must say so, or the failover is refused or aborted."""
    replica = old.info("replication").get("slave0")
    is_online = bool(replica and replica["state"] == "online")
    return is_online and new.info("replication")["master_link_status"] == "up"


@contextmanager
def _failed_over(ledger: OneRedis) -> Iterator[None]:
    """In order, so that nothing is lost: writes wait until the replica has all, and then takes over."""
    old, new = ledger.endpoint.server, ledger.spare
    new.start()
    with admin_of(old) as old_admin, admin_of(new) as new_admin:
        new_admin.replicaof(HOST, old.port)
        eventually(lambda: _follows(new_admin, old_admin), "the replica has all and follows")
        old_admin.execute_command("FAILOVER", "TO", HOST, new.port, "TIMEOUT", 30_000)
        eventually(lambda: new_admin.role()[0] in (b"master", "master"), "it is the primary")
    # Those who are connected meet a replica.
    ledger.endpoint.move_to(new)
    ledger.spare = old
    try:
        yield
    finally:
        old.kill()

"""What happens to RabbitMQ. It loses no message: its queues are on disk, and publishing is confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from chaos.faults.fault import Fault, killed
from support.moods import PASSWORD, USER
from support.rabbitmq import RabbitMQ
from support.rabbitmq_states import (
    LANES,
    WORKER,
    clear_permissions,
    close_connections,
    disk_alarm,
    frozen,
    memory_alarm,
    set_consumer_timeout,
    set_password,
    set_permissions,
)

CONSUMER_TIMEOUT = 1_800_000
"""Milliseconds: RabbitMQ's default."""


def faults(node: RabbitMQ) -> dict[str, Fault]:
    """By kind."""

    def fault(state: Callable[..., AbstractContextManager[None]], *arguments: object) -> Fault:
        return Fault(partial(state, node, *arguments))

    return {
        "memory alarm": fault(memory_alarm),
        "disk alarm": fault(disk_alarm),
        "hangs": Fault(partial(frozen, node), (1.0, 8.0)),
        "killed and restarted": Fault(partial(killed, node), (0.0, 3.0)),
        "connections closed by force": Fault(partial(_closed, node), (0.0, 1.0)),
        "consumer timeout": Fault(partial(_impatient, node), (3.0, 6.0)),
        "another password": fault(_shut_out, set_password, ("another",), (PASSWORD,)),
        "may not read": fault(_shut_out, set_permissions, (*WORKER[:2], "^$"), WORKER),
        "may not write": fault(_shut_out, set_permissions, (LANES, "^$", LANES), WORKER),
        "no access": fault(_without_access),
    }


@contextmanager
def _closed(node: RabbitMQ) -> Iterator[None]:
    close_connections(node)
    yield


@contextmanager
def _impatient(node: RabbitMQ) -> Iterator[None]:
    """Channels keep what they began with, so the connections are made anew."""
    set_consumer_timeout(node, 1000)
    close_connections(node)
    try:
        yield
    finally:
        set_consumer_timeout(node, CONSUMER_TIMEOUT)
        close_connections(node)


@contextmanager
def _shut_out(
    node: RabbitMQ, change: Callable[..., None], worse: tuple[str, ...], better: tuple[str, ...]
) -> Iterator[None]:
    change(node, USER, *worse)
    close_connections(node)
    try:
        yield
    finally:
        change(node, USER, *better)


@contextmanager
def _without_access(node: RabbitMQ) -> Iterator[None]:
    clear_permissions(node, USER)
    close_connections(node)
    try:
        yield
    finally:
        set_permissions(node, USER, *WORKER)

"""Puts a RabbitMQ node into a state, and looks what it sees: what `rabbitmqctl` does, from within."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from support.rabbitmq import RabbitMQ
from support.waiting import eventually

VHOST: Final = "/"


@contextmanager
def memory_alarm(node: RabbitMQ) -> Iterator[None]:
    """Any use of memory is too much."""
    with _alarm(
        node,
        "vm_memory_monitor:set_vm_memory_high_watermark(0.00001).",
        "vm_memory_monitor:set_vm_memory_high_watermark(0.4).",
    ):
        yield


@contextmanager
def disk_alarm(node: RabbitMQ) -> Iterator[None]:
    """No disk has that much space."""
    with _alarm(
        node,
        "rabbit_disk_monitor:set_disk_free_limit(900000000000000).",
        "rabbit_disk_monitor:set_disk_free_limit(50000000).",
    ):
        yield


@contextmanager
def frozen(node: RabbitMQ) -> Iterator[None]:
    """The node hangs."""
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


def connection_states(node: RabbitMQ) -> list[str]:
    """Of each connection, such as `running` or `blocked`."""
    states = node.run("[S || [{state, S}] <- rabbit_networking:connection_info_all([state])].")
    return states.strip("[]").replace(" ", "").split(",") if states != "[]" else []


def close_connections(node: RabbitMQ) -> None:
    """By force, as an operator does."""
    node.run('[rabbit_networking:close_connection(P, "test") || P <- rabbit_networking:connections()].')


def set_user(node: RabbitMQ, name: str, password: str, configure: str, write: str, read: str) -> str:
    """A new user with these permissions; the broker's URL for it."""
    node.run(f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"test">>).')
    set_permissions(node, name, configure, write, read)
    return node.url.replace("guest:guest", f"{name}:{password}")


def set_permissions(node: RabbitMQ, name: str, configure: str, write: str, read: str) -> None:
    """Regular expressions on names."""
    words = ", ".join(_binary(each) for each in (name, VHOST, configure, write, read))
    node.run(f'rabbit_auth_backend_internal:set_permissions({words}, <<"test">>).')


def clear_permissions(node: RabbitMQ, name: str) -> None:
    """The user may not even enter the virtual host."""
    words = ", ".join(_binary(each) for each in (name, VHOST, "test"))
    node.run(f"rabbit_auth_backend_internal:clear_permissions({words}).")


def set_password(node: RabbitMQ, name: str, password: str) -> None:
    """Change a password; connections that are open stay open."""
    node.run(f'rabbit_auth_backend_internal:change_password(<<"{name}">>, <<"{password}">>, <<"test">>).')


def set_delivery_limit(node: RabbitMQ, limit: int) -> None:
    """By a policy, for all lanes."""
    node.run(
        f'rabbit_policy:set(<<"{VHOST}">>, <<"limit">>, <<"^device-status">>, '
        f'[{{<<"delivery-limit">>, {limit}}}], 0, <<"queues">>, <<"test">>).'
    )


def set_consumer_timeout(node: RabbitMQ, milliseconds: int) -> None:
    """How long a message may stay unacknowledged; channels that are open keep theirs."""
    node.run(f"application:set_env(rabbit, consumer_timeout, {milliseconds}).")


@contextmanager
def _alarm(node: RabbitMQ, cause: str, mend: str) -> Iterator[None]:
    node.run(cause)
    eventually(lambda: node.run("rabbit_alarm:get_alarms().") != "[]", "there is an alarm")
    try:
        yield
    finally:
        node.run(mend)
        eventually(lambda: node.run("rabbit_alarm:get_alarms().") == "[]", "the alarm is over")


def _binary(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'

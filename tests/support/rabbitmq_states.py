"""Puts a RabbitMQ node into a state, and looks what it sees: what `rabbitmqctl` does, from within."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from support.rabbitmq import RabbitMQ
from support.waiting import eventually

VHOST: Final = "/"
BY: Final = "test"
"""Who changed it, for RabbitMQ's log."""

LANES: Final = r"^device-status\."
WORKER: Final = (LANES, r"^amq\.default$", LANES)
"""What docs/operating.md says a worker needs: configure, write, read."""


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


def add_vhost(node: RabbitMQ, name: str) -> None:
    """A virtual host with nothing in it."""
    _call(node, "rabbit_vhost:add", name, BY)
    set_permissions(node, "guest", ".*", ".*", ".*", name)


def vhost_url(node: RabbitMQ, vhost: str) -> str:
    """The broker's URL for a virtual host."""
    return f"{node.url.removesuffix('/')}{'/' if vhost == VHOST else vhost}"


def set_user(
    node: RabbitMQ, name: str, password: str, configure: str, write: str, read: str, vhost: str = VHOST
) -> str:
    """A new user with these permissions; the broker's URL for it."""
    _call(node, "rabbit_auth_backend_internal:add_user", name, password, BY)
    set_permissions(node, name, configure, write, read, vhost)
    return vhost_url(node, vhost).replace("guest:guest", f"{name}:{password}")


def delete_user(node: RabbitMQ, name: str) -> None:
    """Its connections are closed."""
    _call(node, "rabbit_auth_backend_internal:delete_user", name, BY)


def set_permissions(
    node: RabbitMQ, name: str, configure: str, write: str, read: str, vhost: str = VHOST
) -> None:
    """Regular expressions on names."""
    _call(node, "rabbit_auth_backend_internal:set_permissions", name, vhost, configure, write, read, BY)


def clear_permissions(node: RabbitMQ, name: str) -> None:
    """The user may not even enter the virtual host."""
    _call(node, "rabbit_auth_backend_internal:clear_permissions", name, VHOST, BY)


def set_password(node: RabbitMQ, name: str, password: str) -> None:
    """Change a password; connections that are open stay open."""
    _call(node, "rabbit_auth_backend_internal:change_password", name, password, BY)


def set_delivery_limit(node: RabbitMQ, limit: int) -> None:
    """By a policy, for all lanes."""
    node.run(
        f'rabbit_policy:set(<<"{VHOST}">>, <<"limit">>, <<"^device-status">>, '
        f'[{{<<"delivery-limit">>, {limit}}}], 0, <<"queues">>, <<"test">>).'
    )


def set_consumer_timeout(node: RabbitMQ, milliseconds: int) -> None:
    """How long a message may stay unacknowledged; channels that are open keep what they had."""
    node.run(f"application:set_env(rabbit, consumer_timeout, {milliseconds}).")
    node.run(f"application:set_env(rabbit, channel_tick_interval, {milliseconds // 2}).")


@contextmanager
def _alarm(node: RabbitMQ, cause: str, mend: str) -> Iterator[None]:
    node.run(cause)
    eventually(lambda: node.run("rabbit_alarm:get_alarms().") != "[]", "there is an alarm")
    try:
        yield
    finally:
        node.run(mend)
        eventually(lambda: node.run("rabbit_alarm:get_alarms().") == "[]", "the alarm is over")


def _call(node: RabbitMQ, function: str, *arguments: str) -> None:
    node.run(f"{function}({', '.join(_binary(each) for each in arguments)}).")


def _binary(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}">>'


def set_parameter(node: RabbitMQ, component: str, name: str, value: str) -> None:
    """As `rabbitmqctl set_parameter`; `value` is JSON."""
    value = " ".join(value.split()).replace('"', r"\"")
    place = f'<<"{VHOST}">>, <<"{component}">>, <<"{name}">>'
    node.run(f'rabbit_runtime_parameters:parse_set({place}, "{value}", <<"{BY}">>).')

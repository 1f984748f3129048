"""How kombu connects to the broker, in producers and in workers alike."""

from __future__ import annotations

from typing import Any

import kombu
import kombu.connection

from device_status.tls import amqp_options, redis_options
from device_status.urls import Kind, ServerUrl

_RABBITMQ_TIMEOUTS = {"connect_timeout": 3, "read_timeout": 10, "write_timeout": 10}
_REDIS_TIMEOUTS = {"socket_timeout": 4, "socket_connect_timeout": 3, "socket_keepalive": True}


class BrokerConnection(kombu.Connection):  # type: ignore[misc]
    """A connection that expects of each node of RabbitMQ a certificate for its own name."""

    ssl: Any

    def switch(self, conn_str: str) -> None:
        """Go over to another node; kombu would check it against the name of the first."""
        super().switch(conn_str)
        if isinstance(self.ssl, dict) and "server_hostname" in self.ssl:
            self.ssl = self.ssl | {"server_hostname": self.hostname}

    def Pool(self, limit: int | None = None, **options: Any) -> kombu.connection.ConnectionPool:  # noqa: N802
        """A pool of such connections."""
        return _Pool(self, limit, **options)


class _PooledConnection(BrokerConnection, kombu.connection.PooledConnection):  # type: ignore[misc]
    """Goes back into its pool."""


class _Pool(kombu.connection.ConnectionPool):  # type: ignore[misc]
    def new(self) -> _PooledConnection:
        """One more."""
        return _PooledConnection(self, **self.connection.info())


def connection_to(broker_url: str) -> BrokerConnection:
    """A connection that is not opened yet."""
    return BrokerConnection(
        ServerUrl.parse(broker_url).kombu_url,
        ssl=ssl_options(broker_url),
        transport_options=transport_options(broker_url),
    )


def ssl_options(broker_url: str) -> dict[str, Any] | bool:
    """kombu's `ssl`; False: in the clear. Given without any, rediss:// would not be verified."""
    there = ServerUrl.parse(broker_url)
    if there.tls is None:
        return False
    if there.kind is Kind.RABBITMQ:
        return amqp_options(there.tls, there.hosts[0][0])
    return redis_options(there.tls)


def transport_options(broker_url: str) -> dict[str, Any]:
    """Options with which no call on the broker waits forever (kombu's default for Redis is no timeout)."""
    there = ServerUrl.parse(broker_url)
    if there.kind is Kind.RABBITMQ:
        return {"confirm_publish": True, **_RABBITMQ_TIMEOUTS}
    options: dict[str, Any] = {**_REDIS_TIMEOUTS, "health_check_interval": 10}
    if there.kind is Kind.SENTINELS:
        options["master_name"] = there.master_name
        if there.tls:
            # Without them kombu would ask the sentinels in the clear.
            options["sentinel_kwargs"] = {**_REDIS_TIMEOUTS, "ssl": True, **redis_options(there.tls)}
    return options

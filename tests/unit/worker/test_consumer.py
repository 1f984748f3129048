"""What the consumer relies on in Celery's event loop."""

from __future__ import annotations

import inspect
import logging
import socket
from types import SimpleNamespace

import amqp
import kombu
import pytest
from amqp.exceptions import ConnectionForced
from celery.worker import loops

import device_status_worker.consumer  # noqa: F401 - puts its own part into the loop
from device_status_worker.reception import _acknowledge_quietly
from support.amqp import close_frame


def connected(pair: tuple[socket.socket, socket.socket]) -> amqp.Connection:
    """A connection of py-amqp over one end, as it is after the handshake."""
    connection = amqp.Connection()
    connection.transport = amqp.transport.TCPTransport("127.0.0.1")
    connection.transport.sock = pair[0]
    connection.transport.connected = True
    connection.transport._setup_transport()
    connection.on_inbound_frame = connection.frame_handler_cls(connection, connection.on_inbound_method)
    connection.frame_writer = connection.frame_writer_cls(connection, connection.transport)
    return connection


def test_a_connection_closed_while_the_loop_begins_is_noticed() -> None:
    pair = socket.socketpair()
    with pair[0], pair[1]:
        pair[1].sendall(close_frame(320))
        with pytest.raises(ConnectionForced):
            loops._quick_drain(connected(pair))


def test_a_connection_that_says_nothing_is_well() -> None:
    pair = socket.socketpair()
    with pair[0], pair[1]:
        loops._quick_drain(connected(pair))


def test_the_loop_of_celery_begins_with_it() -> None:
    assert "hub.call_soon(_quick_drain, connection)" in inspect.getsource(loops.asynloop)


@pytest.mark.parametrize("requeue", [True, False])
def test_what_celery_gives_back_is_given_back_and_not_deleted(requeue: bool) -> None:
    """Celery passes by place what is to become of a message."""
    given: list[bool] = []
    channel = SimpleNamespace(no_ack_consumers=None, basic_reject=lambda tag, requeue: given.append(requeue))
    message = kombu.Message(body=b"", delivery_tag="tag", delivery_info={}, channel=channel)
    _acknowledge_quietly(message)
    message.reject_log_error(logging.getLogger(), (), requeue)
    assert given == [requeue]

"""Which port is free, and who answers on it."""

from __future__ import annotations

import secrets
import socket

HOST = "127.0.0.1"
# Below Linux's ephemeral ports (32768 and up). Among those, a client that tries to reconnect to a stopped
# server can be given the very port it calls, connect to itself, and keep the server from coming back.
PORTS = range(20_000, 32_768)


def free_port() -> int:
    """A port that was free a moment ago."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port


def answers(port: int, pid: int) -> bool:
    """Whether the server on the port has loaded its data and is this very process."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            # While it loads, PING is answered by an error.
            connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return False
    return answer.startswith(b"+PONG") and f"\r\nprocess_id:{pid}\r\n".encode() in answer

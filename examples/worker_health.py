"""Exit code 0 where a worker of this container (or machine) listens on the broker; for health checks.

A worker asks the broker for messages over a connection that blocks for a second at a time, and leaves it
alone while all its threads are busy, which is no longer than a message may take (15 s). So a connection from
here that has asked within the last minute is a worker that takes work; a process that hangs has none.

RabbitMQ does not tell who listens; there the worker itself touches a file every few seconds, as long as it is
connected and its loop turns.
"""

from __future__ import annotations

import sys

from device_status import load_settings
from device_status.scripts import connect
from device_status.urls import without_password
from device_status_worker import sign_of_life

LONGEST_SILENCE = 60
"""Seconds."""


def main() -> int:
    """The exit code."""
    url = load_settings().broker_url
    if not url.startswith(("redis://", "rediss://")):
        silence = sign_of_life.newest()
        if silence is None or silence > LONGEST_SILENCE:
            print(f"no worker of this host is connected to {without_password(url)}")
            return 1
        print(f"a worker of this host was connected {silence:.0f} s ago")
        return 0
    with connect(url) as broker:
        here = broker.client_info()["addr"].rpartition(":")[0]
        silences = [
            int(client["idle"])
            for client in broker.client_list()
            if client["cmd"] == "brpop" and client["addr"].rpartition(":")[0] == here
        ]
    if not silences or min(silences) > LONGEST_SILENCE:
        print(f"no worker of {here} listens on {without_password(url)}")
        return 1
    print(f"a worker of {here} asked for messages {min(silences)} s ago")
    return 0


if __name__ == "__main__":
    sys.exit(main())

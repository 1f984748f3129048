"""Exit code 0 where a worker of this container (or machine) listens on the broker; for health checks.

A worker asks the broker for messages over a connection that blocks for a second at a time, and leaves it
alone while all its threads are busy, which is no longer than a message may take (15 s). So a connection from
here that has asked within the last minute is a worker that takes work; a process that hangs has none.

On RabbitMQ a look at the connections needs its management plugin: there this says so and exits with 0.
"""

from __future__ import annotations

import sys

from device_status import load_settings
from device_status.scripts import connect
from device_status.urls import without_password

LONGEST_SILENCE = 60
"""Seconds."""


def main() -> int:
    """The exit code."""
    url = load_settings().broker_url
    if not url.startswith(("redis://", "rediss://")):
        print(f"not checked: {without_password(url)} does not tell who listens")
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

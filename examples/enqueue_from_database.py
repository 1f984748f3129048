"""Forget every device that a database lists, in constant memory; run again, it repeats nothing.

enqueue_from_database.py FILE, an SQLite file with lost_devices (id, user_pool_id, username, device_key).
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing

from device_status import Producer


def commands(database: sqlite3.Connection) -> Iterator[dict[str, str]]:
    """A command for each row, named after it: the same row is the same command."""
    rows = database.execute("SELECT id, user_pool_id, username, device_key FROM lost_devices")
    for row_id, user_pool_id, username, device_key in rows:
        yield {
            "command_id": f"lost-device-{row_id}",
            "user_pool_id": user_pool_id,
            "username": username,
            "device_key": device_key,
            "status": "not_remembered",
            "reason": "reported lost",
        }


def main(file: str) -> int:
    """The exit code: 0 where every row was accepted."""
    with closing(sqlite3.connect(file)) as database:
        report = Producer().enqueue_many(commands(database))
    print(f"{report.accepted} accepted, {report.repeated} of them known before")
    for refusal in report.refused:
        print(f"row {refusal.index + 1} refused: {refusal.reason}")
    return 1 if report.refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

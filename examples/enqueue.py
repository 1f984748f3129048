"""Forget one device and wait for what becomes of it: enqueue.py USER_POOL_ID USERNAME DEVICE_KEY"""

from __future__ import annotations

import sys
import time

from device_status import DeviceStatusError, Producer

PATIENCE = 30
"""Seconds."""


def main(user_pool_id: str, username: str, device_key: str) -> int:
    """The exit code: 0 where it succeeded."""
    producer = Producer()
    try:
        command_id = producer.enqueue(
            user_pool_id=user_pool_id,
            username=username,
            device_key=device_key,
            status="not_remembered",
            lane="urgent",
        )
    except DeviceStatusError as error:
        print(f"not sent: {error}")
        return 1
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        record = producer.lookup(command_id)
        if record and record.outcome:
            print(f"{command_id}: {record.outcome} {record.error_code or ''}".rstrip())
            return 0 if record.outcome == "succeeded" else 1
        time.sleep(0.2)
    print(f"{command_id}: no outcome after {PATIENCE} s; it goes on")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Publishing with plain Celery, without our package: the task's name, its queue, and one keyword argument.

Run with DEVICE_STATUS_BROKER_URL set: python examples/bare_celery.py POOL USERNAME DEVICE_KEY
"""

from __future__ import annotations

import os
import sys
import uuid

from celery import Celery

app = Celery(broker=os.environ["DEVICE_STATUS_BROKER_URL"], set_as_current=False)
app.conf.update(
    # Both matter: pickle is refused, and a queue that Celery makes on RabbitMQ would not be a quorum queue.
    task_serializer="json",
    task_create_missing_queue_type="quorum",
)


def forget(user_pool_id: str, username: str, device_key: str) -> str:
    """Order `not_remembered` for one device; returns the command id, for `device-status status`."""
    command_id = str(uuid.uuid4())
    app.send_task(
        "device_status.apply",
        kwargs={
            "command": {
                "command_id": command_id,
                "user_pool_id": user_pool_id,
                "username": username,
                "device_key": device_key,
                "status": "not_remembered",
                "reason": "laptop stolen",
            }
        },
        queue="device-status.routine",
        ignore_result=True,
        # Celery's log of a publisher, and the message's headers, would hold the username.
        argsrepr="()",
        kwargsrepr="{}",
    )
    return command_id


if __name__ == "__main__":
    print(forget(*sys.argv[1:]))

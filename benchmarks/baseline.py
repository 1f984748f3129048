"""What people write instead: a Celery task with SET NX against repeats, a window counter, and boto3.

The named baseline of the worker's measurement. It loses messages, forgets what it did, and its fixed window
admits twice the quota around the turn of a second; it is here for its speed.
"""

from __future__ import annotations

import os
import time

import boto3
import redis
from botocore.config import Config
from celery import Celery

QUOTA = int(os.environ.get("BASELINE_QUOTA", "100000"))

app = Celery(
    "baseline", broker=os.environ.get("BASELINE_BROKER_URL", "redis://127.0.0.1/0"), set_as_current=False
)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_pool="threads",
    worker_concurrency=16,
    worker_prefetch_multiplier=1,
    task_default_queue="baseline",
)
_redis = redis.Redis.from_url(app.conf.broker_url)
_cognito = boto3.client("cognito-idp", region_name="eu-west-1", config=Config(max_pool_connections=16))


@app.task(name="baseline.apply", bind=True)  # type: ignore[untyped-decorator]
def apply(self: object, command: dict[str, str]) -> None:
    """One command."""
    if not _redis.set(f"baseline:done:{command['command_id']}", 1, nx=True, ex=3600):
        return
    while _redis.incr(f"baseline:window:{int(time.time())}") > QUOTA:
        time.sleep(0.05)
    _cognito.admin_update_device_status(
        UserPoolId=command["user_pool_id"],
        Username=command["username"],
        DeviceKey=command["device_key"],
        DeviceRememberedStatus=command["status"],
    )

"""Gets everything in, by repeating what met a fault, as `PublishError` tells its callers to."""

from __future__ import annotations

import threading
import time
from collections import Counter

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.system import System
from chaos.workload import Malformed, Workload
from device_status import LedgerUnavailableError, Producer, PublishError
from device_status.command import DeviceStatusCommand, Lane
from device_status.publisher import queue_name
from support.amqp import publish_raw
from support.messages import BadMessage, properties_of

_BATCH = 500


def publish(system: System, load: Workload) -> Counter[Malformed]:
    """Publish all of it; says how often each malformed message may have got in."""
    producer = Producer(system.settings)
    pushes: Counter[Malformed] = Counter()
    raw = threading.Thread(target=_push_all, args=(system, load.malformed, pushes))
    raw.start()
    for start in range(0, len(load.publications), _BATCH):
        some = load.publications[start : start + _BATCH]
        for lane in Lane:
            _until_accepted(producer, [each for each in some if _lane(each) is lane], lane)
    raw.join()
    return pushes


def _lane(command: DeviceStatusCommand) -> Lane:
    number = int(command.command_id.rpartition("-")[2])
    return Lane.URGENT if number % 10 == 0 else Lane.ROUTINE if number % 10 < 3 else Lane.BULK


def _until_accepted(producer: Producer, commands: list[DeviceStatusCommand], lane: Lane) -> None:
    while True:
        try:
            report = producer.enqueue_many(commands, lane=lane)
        except (PublishError, LedgerUnavailableError):
            continue
        assert not report.refused
        return


def _push_all(system: System, messages: list[Malformed], pushes: Counter[Malformed]) -> None:
    for malformed in messages:
        while True:
            pushes[malformed] += 1
            try:
                _push(system, malformed.message, malformed.lane)
                break
            except Exception:
                # Whatever the client says of a broker that is killed; a message too many is harmless.
                time.sleep(0.1)


def _push(system: System, message: BadMessage, lane: Lane) -> None:
    if system.rabbitmq and message.code == "MalformedEnvelope":
        # RabbitMQ has an envelope of its own: what is none on Redis is a body there.
        publish_raw(system.rabbitmq.url, lane, message.raw, content_type="application/json")
    elif system.rabbitmq:
        body, properties = properties_of(message.raw)
        publish_raw(system.rabbitmq.url, lane, body, **properties)
    else:
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(system.settings.broker_url, retry=once) as client:
            client.lpush(queue_name(lane), message.raw)

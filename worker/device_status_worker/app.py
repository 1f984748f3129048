"""The Celery app of the workers. Each setting says what happens without it.

What is known of Celery's behaviour on Redis was seen on Celery 5.7 and kombu 5.7.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from celery.exceptions import CPendingDeprecationWarning

from device_status.broker import BrokerConnection, ssl_options, transport_options
from device_status.clean import printable
from device_status.command import Lane
from device_status.errors import SettingsError
from device_status.health import connection_warnings
from device_status.publisher import queue, queue_name
from device_status.registry import entry_of
from device_status.settings import Settings
from device_status.urls import ServerUrl
from device_status_worker import last_resort, ledger_check, log_records, process, sign_of_life, transport
from device_status_worker.redaction import quiet_libraries

VISIBILITY_TIMEOUT = 120
"""Seconds after which the Redis transport gives an unacknowledged message to another worker. Longer than
a message may keep a thread (receive.py) and than a claim's lease; kombu's default is an hour."""

logger = logging.getLogger(__name__)


def _read_settings() -> Settings:
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"):
        # Celery would take this URL, or that of its option --broker, and verify no certificate there.
        if os.environ.get(name):
            raise SettingsError(f"{name}: is not used; unset it, workers read DEVICE_STATUS_BROKER_URL")
    return process.settings()


try:
    _settings = _read_settings()
except SettingsError as error:
    sys.stderr.write(f"device-status: {printable(str(error))}\n")
    raise SystemExit(3) from None

_broker_url = _settings.broker_url
_redis_options = {
    "visibility_timeout": VISIBILITY_TIMEOUT,
    # Seconds between two looks for messages of dead workers; kombu counts in polls by default.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # Seconds that a process which dies in such a look keeps the others from it. kombu's default of 300
    # outlasts the visibility timeout. Two looks at once are harmless: a message moves in a transaction.
    "unacked_mutex_expire": 10,
    # Without it, BRPOP asks the queues in a fixed order and a full one starves those behind it.
    "queue_order_strategy": "round_robin",
}


class _Amqp(AMQP):  # type: ignore[misc]
    """Celery's, which connects as the producers do."""

    Connection = BrokerConnection


app = Celery("device-status", amqp=_Amqp, include=["device_status_worker.tasks"], set_as_current=False)
app.conf.update(
    broker_url=ServerUrl.parse(_broker_url).kombu_url,
    # Without it, kombu sends the password to whoever answers on rediss://.
    broker_use_ssl=ssl_options(_broker_url),
    broker_transport_options=transport_options(_broker_url)
    | ({} if _broker_url.startswith("amqp") else _redis_options),
    # Celery gives up after 100 tries and the worker exits.
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    # It exits if RabbitMQ closes a channel: for a queue declared otherwise, a missing permission, a message
    # that waited too long.
    broker_channel_error_retry=True,
    # A RabbitMQ that vanished without a sign is missed after two of these, in seconds; Celery's are 120.
    broker_heartbeat=30,
    # The work is waiting for answers. Prefork loses messages when its main process is killed, and gevent
    # never restores them.
    worker_pool="threads",
    worker_concurrency=_settings.concurrency,
    # A message that waits in a worker's memory is one that no idle worker can take; the first setting is
    # for RabbitMQ, where the second does not exist.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=not _broker_url.startswith("amqp"),
    # Acknowledged first, a message dies with its worker.
    task_acks_late=True,
    # The ledger holds the command, so a task that fails by a bug is not delivered again for ever.
    task_acks_on_failure_or_timeout=True,
    task_reject_on_worker_lost=True,
    # Results go to the ledger; a backend would hold each a second time.
    task_ignore_result=True,
    result_backend=None,
    # One PUBLISH to the control channel shuts a worker down.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    # Celery's own rate limits count per process; the gate is the limit.
    worker_disable_rate_limits=True,
    # pickle and yaml run code that a message brings along.
    accept_content=["json"],
    task_serializer="json",
    # Messages that are no task go to the dead letters instead of being deleted.
    worker_consumer="device_status_worker.consumer:CheckedConsumer",
    task_queues=[queue(lane, _broker_url) for lane in Lane],
    task_default_queue=queue(Lane.ROUTINE, _broker_url).name,
    task_default_exchange="",
    # A mistyped -Q would make a queue that nobody publishes to.
    task_create_missing_queues=False,
    # Times in the log and in messages are UTC.
    enable_utc=True,
    # Repeated for every message and worth nothing: the receiver logs outcomes.
    worker_redirect_stdouts=False,
)
transport.install(process.bury_envelope)


@signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _init(**_: Any) -> None:
    last_resort.start()


@signals.celeryd_init.connect(weak=False)  # type: ignore[untyped-decorator]
def _clean_log(**_: Any) -> None:
    # Sent before any logging is set up, and by workers alone, even where a user sets it up himself.
    log_records.install()


@signals.after_setup_logger.connect(weak=False)  # type: ignore[untyped-decorator]
def _logging_is_set_up(**_: Any) -> None:
    quiet_libraries()
    # Here, since this comes before the first connection.
    for name, url in (("ledger", _settings.ledger), ("broker", _broker_url)):
        for warning in connection_warnings(url, name=name):
            logger.warning(warning)


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    # The command line may have changed the number of threads.
    process.receiver().threads = sender.pool.num_processes
    process.sweeper().start()
    process.lister().start()
    process.notifier().start()
    lanes = [lane for lane in Lane if queue_name(lane) in app.amqp.queues.consume_from]
    process.registration().start(entry_of(_settings, sender.hostname, lanes))
    ledger_check.start(process.impatient_ledger().redis, _settings.required_durability, process.stop)
    # Celery's news of a later version, six lines at each loss of a connection. What runs then goes on here,
    # and the ledger makes its repeat harmless.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


@signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
def _stop_waiting(**_: Any) -> None:
    process.stop.set()


@signals.worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
def _give_back(**_: Any) -> None:
    transport.give_back(app.connection_for_write())
    sign_of_life.remove()
    # Celery waits for its tasks alone; a listing that died with the process would wait for its lease.
    process.lister().join()
    process.registration().join()

"""Keeps personal data out of the logs: devices appear under a keyed hash, and libraries that log whole
messages or requests are held above the level at which they do.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from typing import Final

from amqp.exceptions import AMQPError
from celery.exceptions import Reject
from kombu.exceptions import KombuError, OperationalError
from redis import RedisError

from device_status.command import DeviceStatusCommand
from device_status.ledger import PREFIX, Ledger
from device_status.scripts import ledger_errors

_LOG_WHOLE_REQUESTS: Final = (
    "amqp",
    "boto3",
    "botocore",
    "celery.bootsteps",
    "celery.concurrency",
    "celery.pool",
    "celery.utils",
    "celery.worker.strategy",
    "kombu",
    "s3transfer",
    "urllib3",
)


_LIBRARIES: Final = ("amqp", "celery", "kombu", "redis")
_AWAY: Final = (OSError, AMQPError, KombuError, OperationalError, RedisError, Reject)


class Pseudonyms:
    """Names for devices that tell two apart and no more, the same on every worker.

    The key is made once and kept in the ledger: without it, nobody can try usernames against a log.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._key = b""

    def of(self, command: DeviceStatusCommand) -> str:
        """Sixteen hexadecimal digits; dashes while the ledger does not tell the key."""
        try:
            key = self._key or self._load()
        except Exception:
            return "-" * 16
        return hmac.new(key, command.device_hash.encode(), hashlib.sha256).hexdigest()[:16]

    def _load(self) -> bytes:
        with ledger_errors():
            name = f"{PREFIX}log-key"
            self._ledger.redis.set(name, secrets.token_hex(32), nx=True)
            self._key = self._ledger.redis.get(name).encode()
        return self._key


def place(error: BaseException) -> str:
    """Where it was raised, as `file:line`: what may be logged of an error whose text may hold values."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"


def is_known(name: str, error: BaseException | None) -> bool:
    """Whether a library, by the name of its logger, says with a traceback that a server is away."""
    return isinstance(error, _AWAY) and name.startswith(_LIBRARIES)


def quiet_libraries() -> None:
    """Hold back what would log usernames and device keys at the level DEBUG, and what says nothing new."""
    # What it says of a lost connection, consumer.py says with its reason and once in a while.
    logging.getLogger("celery.worker.consumer.consumer").setLevel(logging.ERROR)
    logging.getLogger("celery.worker.loops").setLevel(logging.CRITICAL)
    for name in _LOG_WHOLE_REQUESTS:
        logger = logging.getLogger(name)
        # The effective level: INFO alone would let them say more than the rest at WARNING.
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))

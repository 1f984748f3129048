"""What one worker process is made of, put together once."""

from __future__ import annotations

import logging
import threading
from functools import cache

from device_status.ledger import Ledger
from device_status.publisher import Publisher
from device_status.settings import Settings, load_settings
from device_status_worker import listing
from device_status_worker.cognito import Cognito
from device_status_worker.gate import Gates
from device_status_worker.handle import Worker
from device_status_worker.intake import Intake, envelope_problem
from device_status_worker.notifier import Notifier
from device_status_worker.patience import patience_until
from device_status_worker.receive import Receiver
from device_status_worker.redaction import Pseudonyms
from device_status_worker.registration import Registration
from device_status_worker.sweeper import Sweeper

logger = logging.getLogger(__name__)

stop = threading.Event()
"""Set when the worker shuts down: waits end, and what is not begun is given back."""


@cache
def settings() -> Settings:
    """The settings, read once."""
    return load_settings()


@cache
def ledger() -> Ledger:
    """The process's connection to the ledger."""
    return Ledger.of(settings(), patience=patience_until(stop))


@cache
def impatient_ledger() -> Ledger:
    """The same for threads that must not wait: Celery's own."""
    return Ledger.of(settings())


@cache
def housekeeping_ledger() -> Ledger:
    """For what is done again if it is lost: it waits for no disk and no replica."""
    return Ledger(settings().ledger, retention=settings().retention)


@cache
def publisher() -> Publisher:
    """The process's connection to the broker for publishing."""
    return Publisher(settings().broker_url)


@cache
def intake() -> Intake:
    """Where messages that Celery can't read go."""
    return Intake(impatient_ledger())


@cache
def worker() -> Worker:
    """What commands and listings are worked on with."""
    return Worker(
        settings=settings(),
        ledger=ledger(),
        gates=Gates(ledger().redis, stop.wait, patience_until(stop)),
        cognito=Cognito(connections=settings().concurrency + listing.THREADS),
        publisher=publisher(),
    )


@cache
def receiver() -> Receiver:
    """What the tasks hand their messages to."""
    return Receiver(worker(), Intake(ledger()), Pseudonyms(ledger()), stop)


@cache
def lister() -> listing.Lister:
    """What lists users and devices for incidents."""
    return listing.Lister(worker(), stop)


@cache
def notifier() -> Notifier:
    """What tells the webhook of incidents that have ended."""
    return Notifier(housekeeping_ledger(), settings(), stop)


@cache
def sweeper() -> Sweeper:
    """The process's sweeper; of all processes one works at a time."""
    return Sweeper(housekeeping_ledger(), publisher(), stop)


@cache
def registration() -> Registration:
    """What keeps the process's entry among the workers."""
    return Registration(impatient_ledger(), stop)


def bury_envelope(raw: bytes, queue: str) -> bool:
    """For `transport.install`."""
    problem = envelope_problem(raw)
    if problem is None:
        return False
    intake().bury("MalformedEnvelope", problem, raw, queue)
    return True

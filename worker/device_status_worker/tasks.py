"""The Celery tasks: they hand their message on. What happens with it is in receive.py and handle.py."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery.exceptions import Reject

from device_status.command import Lane
from device_status.errors import LedgerUnavailableError
from device_status.publisher import APPLY, APPLY_MANY, MARK, BrokerUnavailableError, queue_name
from device_status_worker.app import app
from device_status_worker.patience import ShuttingDownError
from device_status_worker.process import receiver, sweeper

_LANES = {queue_name(lane): lane for lane in Lane}


@app.task(name=APPLY, bind=True)  # type: ignore[untyped-decorator]
def apply(self: Any, command: Any) -> None:
    """One command."""
    _receive(self.request, [command])


@app.task(name=APPLY_MANY, bind=True)  # type: ignore[untyped-decorator]
def apply_many(self: Any, commands: list[Any]) -> None:
    """Up to 50 commands; each has its own ledger entry and its own outcome."""
    _receive(self.request, commands)


@app.task(name=MARK)  # type: ignore[untyped-decorator]
def mark(mark: int, lane: str) -> None:
    """The sweeper's mark: tells how far a lane has been read."""
    # A mark that is lost is sent again.
    with suppress(LedgerUnavailableError):
        sweeper().note_mark(Lane(lane), mark)


def _receive(request: Any, commands: list[Any]) -> None:
    lane = _LANES.get((request.delivery_info or {}).get("routing_key", ""), Lane.ROUTINE)
    try:
        receiver().receive(commands, lane, request.id)
    except (ShuttingDownError, BrokerUnavailableError) as error:
        # Not acknowledged: the broker gives it to another worker, or to this one when it is back.
        raise Reject(error, requeue=True) from error

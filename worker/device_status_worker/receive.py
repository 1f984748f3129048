"""What a task does with the commands of one message: check each, handle each, within bounded time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from threading import Event, Lock
from typing import Any, Final

from device_status.command import DeviceStatusCommand, Lane
from device_status.outcomes import Done, Waiting
from device_status.producer import enter_and_publish
from device_status_worker.answers import NOT_FROM_AWS
from device_status_worker.failures import BETWEEN_HERE_AND_AWS, NOT_REACHED
from device_status_worker.handle import Worker, handle
from device_status_worker.intake import Intake
from device_status_worker.patience import ShuttingDownError
from device_status_worker.redaction import Pseudonyms, place

logger = logging.getLogger(__name__)

BUDGET: Final = 15.0
"""Seconds that one message may keep a thread; what is left of it then goes to the end of the queue. Far
under the visibility timeout, so that the broker never takes a message for lost that is being worked on,
and short, so that no lane waits long for a thread."""
ERROR_EVERY: Final = 10.0
"""Seconds between two lines in the log that say the same of paused requests."""

_TROUBLES: Final = {
    "ClocksApart": "commands for %s/%s wait: %s: the clocks of the ledger and of this worker are days apart; "
    "set up time sync on both, nothing is lost",
    "GatePaused:": "requests to %s/%s are paused: %s; mend credentials or permission, nothing is lost",
    NOT_FROM_AWS: "requests to %s/%s are answered by something that is not AWS: %s; look at the proxy or "
    "endpoint, nothing is lost",
    **dict.fromkeys(
        (*BETWEEN_HERE_AND_AWS, *NOT_REACHED),
        "requests to %s/%s do not reach AWS: %s; look at proxy, certificates and endpoint, nothing is lost",
    ),
}
"""By how an error code begins: what somebody must mend."""


class Receiver:
    """Works on messages until `stop` is set.

    Attributes:
        threads: how many threads this process has for messages.
    """

    def __init__(
        self,
        worker: Worker,
        intake: Intake,
        pseudonyms: Pseudonyms,
        stop: Event,
    ) -> None:
        self._worker = worker
        self._intake = intake
        self._pseudonyms = pseudonyms
        self._stop = stop
        self._active = _Active()
        self._next_error_at: dict[tuple[str, str, str], float] = {}
        self.threads = worker.settings.concurrency

    def receive(self, fields: Sequence[Any], lane: Lane, message_id: str) -> None:
        """Bring every command of a message as far as it comes.

        Raises:
            ShuttingDownError: the message was not worked through and must not be acknowledged.
            BrokerUnavailableError: the rest could not be published again; the same holds.
        """
        rest = [
            command
            for index, each in enumerate(fields)
            if (command := self._intake.accept(each, lane, f"{message_id}/{index}"))
        ]
        give_back_at = time.monotonic() + BUDGET
        with self._active:
            while rest:
                self._handle(rest.pop(0), lane)
                if self._stop.is_set() or time.monotonic() > give_back_at:
                    keep = 0
                elif self._active.count < self.threads:
                    # A thread here has nothing to do: let it, or another process's, take half.
                    keep = (len(rest) + 1) // 2
                else:
                    continue
                rest, given = rest[:keep], rest[keep:]
                enter_and_publish(self._worker.ledger, self._worker.publisher, given, lane)

    def _handle(self, command: DeviceStatusCommand, lane: Lane) -> None:
        name, device = command.command_id, self._pseudonyms.of(command)
        try:
            handled = handle(command, lane, self._worker)
        except ShuttingDownError:
            raise
        except Exception as error:
            # The text of the error may hold the command's values; its type and place can't.
            logger.error(  # noqa: TRY400
                "command %s device %s: %s at %s; it is tried again when its lease is over",
                name,
                device,
                type(error).__name__,
                place(error),
            )
            return
        match handled:
            case Done(outcome, error_code):
                logger.info("command %s device %s: %s %s", name, device, outcome, error_code)
            case Waiting(error_code, due_in):
                self._log_trouble(command, error_code)
                logger.info(
                    "command %s device %s: retry in %.1f s after %s",
                    name,
                    device,
                    due_in,
                    error_code,
                )
            case _:
                logger.info("command %s device %s: %s", name, device, type(handled).__name__)

    def _log_trouble(self, command: DeviceStatusCommand, error_code: str) -> None:
        """Somebody must mend what keeps requests from AWS: one line in a while says it for all that waits."""
        text = next((text for code, text in _TROUBLES.items() if error_code.startswith(code)), "")
        if not text:
            return
        target = self._worker.settings.target(command.user_pool_id)
        trouble = (target.account, target.region, error_code.partition(":")[2] or error_code)
        if time.monotonic() >= self._next_error_at.get(trouble, 0):
            self._next_error_at[trouble] = time.monotonic() + ERROR_EVERY
            logger.error(text, *trouble)


class _Active:
    """Counts the threads inside."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1

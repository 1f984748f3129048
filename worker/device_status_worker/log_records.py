"""Makes each record of the log one line that steers no terminal, whoever writes it: we, Celery or a library.

Error codes of AWS, ids of commands and names of queues are other people's text. They are cleaned in the
record and not in a handler, so that this holds for every handler and format that a user adds.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from device_status.clean import printable
from device_status_worker.redaction import is_known, place

logger = logging.getLogger(__name__)


class PrintableRecord(logging.LogRecord):
    """A record whose message is one printable line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.exc_info and is_known(self.name, self.exc_info[1]):
            # Its message has the error; a traceback for each message that waits would say nothing more.
            self.exc_info = None
        if self.exc_info:
            # Formatters take what stands here. Indented, no line of an error's text passes for a record.
            lines = logging.Formatter().formatException(self.exc_info).split("\n")
            self.exc_text = "\n".join(f"  {printable(line)}" for line in lines)

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """The message with its arguments, on one line."""
        return printable(super().getMessage())


def install() -> None:
    """For the whole process, from the next record on; and for threads that nobody waits for."""
    logging.setLogRecordFactory(PrintableRecord)
    threading.excepthook = _tell_of_a_thread


def _tell_of_a_thread(ended: threading.ExceptHookArgs) -> None:
    # Python would write the error's text to standard error, and that may hold values.
    error, name = ended.exc_value, ended.thread.name if ended.thread else "?"
    if error is not None and not isinstance(error, SystemExit):
        logger.critical("the thread %s ended: %s at %s", name, type(error).__name__, place(error))

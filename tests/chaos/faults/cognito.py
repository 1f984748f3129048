"""What happens to requests: now and then throughout a run, and to all of them for some seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from chaos.faults.fault import Fault
from device_status_worker.local import Fault as Answer
from device_status_worker.local import LocalCognito

REST = 2.0
"""The gate needs some time to come back to the quota."""

_OPERATION = "AdminUpdateDeviceStatus"
_ANSWERS = {
    "throttles": (Answer.error("TooManyRequestsException"), 0.005),
    "answers 500": (Answer.error("InternalErrorException", http_status=500), 0.01),
    "does it and answers 500": (Answer.error("InternalErrorException", http_status=500, applied=True), 0.01),
    "resets the connection": (Answer.reset(), 0.01),
    "does it and resets the connection": (Answer.answer_lost(), 0.01),
    "hangs": (Answer.hang(15), 0.003),
    # Done after the caller has given up: may undo a newer command that was applied meanwhile.
    "does it after the caller gave up": (Answer.delay(13, late=True), 0.003),
    "cuts its answer": (Answer.cut(1), 0.005),
    "cuts its answer without a sign": (Answer.cut(0, announced=False), 0.005),
    "lets its answer drip": (Answer.dripping(0.5), 0.003),
    "is hidden by a proxy's 403": (Answer.html(403), 0.005),
    "is hidden by a proxy's 407": (Answer.html(407), 0.005),
    "is hidden by a proxy's 502": (Answer.html(502), 0.005),
    "is hidden by a proxy's 503": (Answer.html(503), 0.005),
    "is hidden by a captive portal's 200": (Answer.html(200), 0.005),
    "is hidden by a 504, and does it later": (Answer.gateway_timeout(5), 0.003),
    "answers without its request id": (Answer.changed(lambda answer: replace(answer, from_aws=False)), 0.005),
    "takes the credentials for expired": (Answer.error("ExpiredTokenException"), 0.0),
}
"""By what it does: how, and which part of all requests meets it at any time."""


_SLOW = ("hangs", "lets its answer drip", "does it after the caller gave up")
"""A worker that ends waits for what is under way."""


def faults(cognito: LocalCognito) -> dict[str, Fault]:
    """By kind."""
    answering = {
        name: Fault(partial(_answering, cognito, answer), (0.5, 3.0), ends_a_worker=name in _SLOW, rest=REST)
        for name, (answer, _) in _ANSWERS.items()
    }
    return answering | {"is away": Fault(partial(_away, cognito), rest=REST)}


class Unreliable:
    """Lets a few requests of a hundred fail, in every way, from its making on."""

    def __init__(self, cognito: LocalCognito) -> None:
        self._cognito = cognito
        self._rules = {
            name: cognito.faults.add(answer, operation=_OPERATION, probability=probability)
            for name, (answer, probability) in _ANSWERS.items()
        }

    def end(self) -> dict[str, int]:
        """No more faults; says how often each was met."""
        for rule in self._rules.values():
            self._cognito.faults.remove(rule)
        return {name: rule.hits for name, rule in self._rules.items() if rule.hits}


@contextmanager
def _answering(cognito: LocalCognito, answer: Answer) -> Iterator[None]:
    rule = cognito.faults.add(answer, operation=_OPERATION)
    try:
        yield
    finally:
        cognito.faults.remove(rule)


@contextmanager
def _away(cognito: LocalCognito) -> Iterator[None]:
    cognito.stop()
    try:
        yield
    finally:
        cognito.start()

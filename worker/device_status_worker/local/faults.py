"""Faults on demand: rules that make chosen requests fail, hang, be slow, or lose their answer.

    cognito.faults.add(Fault.error("InternalErrorException", http_status=500), username="u1", times=2)
    cognito.faults.add(Fault.delay(0.2), probability=0.1)

A rule matches a request if all its conditions do. Rules are tried in the order they were added: all delays
that match add up, and the first other fault that matches decides the answer.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .wire import Answer, Hangup, Response, error_response


@dataclass(frozen=True)
class Fault:
    """What happens in place of the normal course. Make one with the class methods.

    `answer` None is the operation's own answer; `code` is what the request log says; `applied`: is the
    operation done all the same? `after` is the wait in seconds before the answer; `late`: is the operation
    done after that wait, rather than on arrival? The wait ends early, with a reset, when the server stops.
    `change` makes another answer of the operation's own; `effect_after` is the seconds between the answer and
    the operation.
    """

    code: str
    answer: Answer | None = None
    applied: bool = False
    after: float = 0.0
    late: bool = False
    change: Callable[[Response], Answer] | None = None
    effect_after: float | None = None

    @classmethod
    def error(
        cls, code: str, *, http_status: int = 400, message: str | None = None, applied: bool = False
    ) -> Fault:
        """An AWS error, known or made up; `applied` makes it a lie, as a 500 from a real service may be."""
        text = _MESSAGES.get(code, "Injected by the local Cognito.") if message is None else message
        return cls(code, error_response(code, text, http_status), applied)

    @classmethod
    def html(cls, http_status: int = 503, *, body: str | None = None) -> Fault:
        """A proxy's page in place of JSON, with no AWS request id. Its code in the log is `http_<status>`."""
        page = f"<html><body><h1>{http_status}</h1></body></html>" if body is None else body
        answer = Response(http_status, page.encode(), "text/html", from_aws=False)
        return cls(f"http_{http_status}", answer)

    @classmethod
    def reset(cls) -> Fault:
        """The connection is reset (RST) before an answer; the operation is not done. Log: `reset`."""
        return cls("reset", Hangup(reset=True))

    @classmethod
    def answer_lost(cls) -> Fault:
        """The operation is done, and then the connection reset: the caller can't know. Log: `reset`."""
        return cls("reset", Hangup(reset=True), applied=True)

    @classmethod
    def hang(cls, seconds: float, *, applied: bool = False) -> Fault:
        """No answer for so many seconds, then the connection is closed. Log: `no_answer`."""
        return cls("no_answer", Hangup(reset=False), applied, after=seconds)

    @classmethod
    def changed(cls, change: Callable[[Response], Answer]) -> Fault:
        """The operation is done, and its own answer changed on the way. Log: `changed`."""
        return cls("changed", applied=True, change=change)

    @classmethod
    def cut(cls, length: int, *, announced: bool = True) -> Fault:
        """The operation is done, and the body of its answer ends after `length` bytes. Log: `changed`.

        `announced`: does the answer say how long it was to be?
        """

        def change(answer: Response) -> Response:
            whole = len(answer.body) if announced else -1
            return replace(answer, body=answer.body[:length], announced=whole)

        return cls.changed(change)

    @classmethod
    def dripping(cls, pace: float) -> Fault:
        """The operation is done, and its answer comes byte by byte, `pace` seconds apart. Log: `changed`."""
        return cls.changed(lambda answer: replace(answer, pace=pace))

    @classmethod
    def gateway_timeout(cls, effect_after: float) -> Fault:
        """A proxy's page at once, and the operation `effect_after` seconds later. Log: `http_504`."""
        return replace(cls.html(504), effect_after=effect_after)

    @classmethod
    def delay(cls, seconds: float, *, late: bool = False) -> Fault:
        """Latency: the true answer, so many seconds later. With `late` the operation itself waits as well,
        and so may be done after a caller with a short timeout has given up on it."""
        return cls("ok", applied=True, after=seconds, late=late)


# What AWS is known to say with these codes; unchecked.
_MESSAGES = {
    "TooManyRequestsException": "Rate exceeded",
    "ThrottlingException": "Rate exceeded",
    "ExpiredTokenException": "The security token included in the request is expired",
    "UnrecognizedClientException": "The security token included in the request is invalid.",
    "AccessDeniedException": "User is not authorized to perform this operation.",
    "InternalErrorException": "Something went wrong",
}


@dataclass(eq=False)
class Rule:
    """When a fault happens. `seen` counts the requests that fit its names, `hits` those it was used for."""

    fault: Fault
    operation: str | None
    username: str | None
    device_key: str | None
    nth: int | None
    probability: float | None
    times: int | None
    seen: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)

    def fits(self, operation: str, username: str | None, device_key: str | None) -> bool:
        """Whether the names are those of this rule; None in a rule fits all."""
        return (
            self.operation in (None, operation)
            and self.username in (None, username)
            and self.device_key in (None, device_key)
        )


@dataclass(frozen=True)
class Verdict:
    """What the rules say of a request: wait `after` seconds, then the fault or none. `late`: see `Fault`."""

    after: float = 0.0
    late: bool = False
    fault: Fault | None = None


class Faults:
    """The rules of one local Cognito; safe to change while requests run."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        # Seeded, so that a run with probabilities can be repeated: exactly, if its requests come one by one.
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._rules: list[Rule] = []

    def add(
        self,
        fault: Fault,
        *,
        operation: str | None = None,
        username: str | None = None,
        device_key: str | None = None,
        nth: int | None = None,
        probability: float | None = None,
        times: int | None = None,
    ) -> Rule:
        """Adds a rule. Conditions left out fit every request.

        `nth` counts, from 1, the requests that fit the names since the rule was added; `times` is how often
        the rule may be used before it rests; `probability` is between 0 and 1.
        """
        rule = Rule(fault, operation, username, device_key, nth, probability, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Takes a rule away; nothing happens if it is gone."""
        with self._lock:
            self._rules = [kept for kept in self._rules if kept is not rule]

    def clear(self) -> None:
        """Takes all rules away."""
        with self._lock:
            self._rules = []

    def judge(self, operation: str, username: str | None, device_key: str | None) -> Verdict:
        """What happens to this request; counts it."""
        after, late = 0.0, False
        with self._lock:
            for rule in self._rules:
                if not (rule.fits(operation, username, device_key) and self._strikes(rule)):
                    continue
                after += rule.fault.after
                late = late or rule.fault.late
                if rule.fault.answer is not None or rule.fault.change is not None:
                    return Verdict(after, late, rule.fault)
        return Verdict(after, late)

    def _strikes(self, rule: Rule) -> bool:
        rule.seen += 1
        if rule.times is not None and rule.hits >= rule.times:
            return False
        if rule.nth is not None and rule.seen != rule.nth:
            return False
        if rule.probability is not None and self._random.random() >= rule.probability:
            return False
        rule.hits += 1
        return True

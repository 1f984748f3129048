"""Promises of the intake, at their limits: how deep, how often, and what a message may bring along."""

from __future__ import annotations

import json
from threading import Event
from typing import Any

import pytest

from device_status import DeadLetters, Lane, Settings
from device_status_worker.handle import Worker
from device_status_worker.intake import Intake, message_problem
from device_status_worker.receive import Receiver
from device_status_worker.redaction import Pseudonyms
from support import wire_object
from support.messages import body_of, envelope, parts_of


def nested(levels: int) -> bytes:
    """A body whose arrays and objects lie so deep in each other: some of its own, the others in one field."""
    value: Any = []
    for _ in range(levels - 4):
        value = [value]
    return body_of({"command": {"reason": value}})


def problem_of(body: bytes) -> str:
    """The reason why Celery can't have this body; empty if it can."""
    return (message_problem(*parts_of(envelope(body))) or ("", ""))[1]


class TestLimits:
    def test_a_body_may_nest_16_levels_and_not_17(self) -> None:
        assert problem_of(nested(16)) == ""
        assert "nested" in problem_of(nested(17))

    @pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord"])
    def test_nothing_that_celery_would_run_after_the_task_is_accepted(self, name: str) -> None:
        another = {"task": "device_status.apply", "args": [], "kwargs": {}, "options": {}}
        keywords = {"command": wire_object()}
        assert problem_of(body_of(keywords, {name: None})) == ""
        assert problem_of(body_of(keywords, {name: [another]}))

    def test_two_of_a_message_that_are_alike_are_two_dead_letters_however_often_it_comes(
        self, worker: Worker, settings: Settings
    ) -> None:
        receiver = Receiver(worker, Intake(worker.ledger), Pseudonyms(worker.ledger), Event())
        for _ in range(2):
            receiver.receive([{"what": "is this"}, {"what": "is this"}], Lane.BULK, "message")
        letters = list(DeadLetters(settings).list())
        assert [json.loads(letter.raw or "") for letter in letters] == [{"what": "is this"}] * 2

    @pytest.mark.parametrize(
        ("version", "code"), [(2, "UnsupportedSchema"), (0, "UnsupportedSchema"), ("1", "MalformedCommand")]
    )
    def test_a_command_of_another_version_is_kept_under_a_code_of_its_own(
        self, version: Any, code: str, worker: Worker, settings: Settings
    ) -> None:
        assert (
            Intake(worker.ledger).accept(wire_object(schema_version=version), Lane.BULK, "message/0") is None
        )
        (letter,) = DeadLetters(settings).list()
        assert letter.error_code == code

"""Promises of answers: what is said to have succeeded, succeeded; half a list is no list."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_status import DeadLetters, DeviceStatusCommand, Lane, Settings, State, load_settings
from device_status.outcomes import Done, Waiting
from device_status_worker.answers import failure_in
from device_status_worker.bounded_http import HttpAnswer
from device_status_worker.cognito import Cognito, NotSent, Page
from device_status_worker.failures import Action, Failure
from device_status_worker.gate import Slot
from device_status_worker.handle import Worker, handle
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.wire import Response
from support.clock import let_time_pass

MakeCommand = Callable[..., DeviceStatusCommand]

AWS = {
    "x-amzn-requestid": "6f1c2b3a-0000-4000-8000-000000000001",
    "content-type": "application/x-amz-json-1.1",
}
DEVICES = {"Devices": [{"DeviceKey": "eu-west-1_6f1c2b3a-0000-4000-8000-000000000001"}]}
USERS = {"Users": [{"Username": "ada"}]}
WHOLE = {"AdminUpdateDeviceStatus": {}, "AdminListDevices": DEVICES, "ListUsers": USERS}


def answer(body: Any, headers: dict[str, str] = AWS, status: int = 200) -> HttpAnswer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(status, {**headers, "content-length": str(len(content))}, content)


class TestWhatCounts:
    @pytest.mark.parametrize("operation", WHOLE)
    def test_a_whole_answer_of_aws_is_a_success(self, operation: str) -> None:
        assert failure_in(answer(WHOLE[operation]), operation) is None

    def test_a_message_of_half_a_character_can_be_kept(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        body = b'{"__type": "UserNotFoundException", "message": "half \\ud800 of it"}'
        cognito.faults.add(Fault("half", Response(400, body)))
        command = new_command()
        assert handle(command, Lane.ROUTINE, worker) == Done(State.DEAD_LETTERED, "UserNotFoundException")
        (letter,) = DeadLetters(worker.settings).list()
        assert letter.error_message == r"half \ud800 of it"

    def test_an_empty_body_is_one_if_nothing_else_was_announced(self) -> None:
        assert failure_in(answer(b""), "AdminUpdateDeviceStatus") is None

    @pytest.mark.parametrize("operation", ["AdminListDevices", "ListUsers"])
    def test_an_empty_body_is_no_list(self, operation: str) -> None:
        found = failure_in(answer(b""), operation)
        assert found is not None
        assert (found.action, found.code, found.in_doubt) == (Action.RETRY, "BrokenAnswer", True)

    def test_an_empty_body_that_announces_nothing_may_be_cut(self) -> None:
        cut = HttpAnswer(200, AWS, b"")
        assert failure_in(cut, "AdminUpdateDeviceStatus") is not None

    @pytest.mark.parametrize("operation", WHOLE)
    @pytest.mark.parametrize(
        "headers",
        [
            {"content-type": AWS["content-type"]},
            {**AWS, "x-amzn-requestid": ""},
            {**AWS, "x-amzn-requestid": "two, of them"},
            {"x-amzn-requestid": AWS["x-amzn-requestid"]},
            {**AWS, "content-type": "application/json"},
            {**AWS, "content-type": "text/html; charset=utf-8"},
        ],
        ids=["no id", "empty id", "two ids", "no media type", "JSON", "HTML"],
    )
    def test_without_the_marks_of_aws_nothing_is_one(self, headers: dict[str, str], operation: str) -> None:
        found = failure_in(answer(WHOLE[operation], headers), operation)
        assert found is not None
        assert (found.action, found.code) == (Action.BACK_OFF, "NotFromAws:HTTP200")
        assert (found.in_doubt, found.request_id) == (True, "")

    @pytest.mark.parametrize("operation", WHOLE)
    @pytest.mark.parametrize(
        "body",
        [b"{", b"[]", b"null", b'"{}"', b"<html>", b"{}{}", b"\xff{}", b'{"a": NaN', b"{" * 100_000],
    )
    def test_a_body_that_does_not_parse_is_none(self, body: bytes, operation: str) -> None:
        found = failure_in(answer(body), operation)
        assert found is not None
        assert (found.action, found.in_doubt) == (Action.RETRY, True)

    @pytest.mark.parametrize("operation", WHOLE)
    def test_an_error_under_http_200_is_none(self, operation: str) -> None:
        found = failure_in(answer({**WHOLE[operation], "__type": "InternalErrorException"}), operation)
        assert found is not None
        assert (found.action, found.code, found.in_doubt) == (Action.RETRY, "BrokenAnswer", True)

    @pytest.mark.parametrize(
        ("operation", "body"),
        [
            ("AdminListDevices", {}),
            ("AdminListDevices", {"PaginationToken": "more"}),
            ("AdminListDevices", {"Devices": None}),
            ("AdminListDevices", {"Devices": {}}),
            ("AdminListDevices", {"Devices": [None]}),
            ("AdminListDevices", {"Devices": [{}]}),
            ("AdminListDevices", {"Devices": [{"DeviceKey": ""}]}),
            ("AdminListDevices", {"Devices": [{"DeviceKey": "no key"}]}),
            ("AdminListDevices", {"Devices": [{"DeviceKey": "x_" + "0" * 54}]}),
            ("AdminListDevices", {**DEVICES, "PaginationToken": 7}),
            ("AdminListDevices", {**DEVICES, "PaginationToken": ""}),
            ("ListUsers", {**USERS, "PaginationToken": "half \ud800"}),
            ("AdminListDevices", USERS),
            ("ListUsers", {}),
            ("ListUsers", DEVICES),
            ("ListUsers", {"Users": [{"Username": ""}]}),
            ("ListUsers", {"Users": [{"Username": "a b"}]}),
            ("ListUsers", {"Users": [{"Username": "a" * 129}]}),
            ("ListUsers", {"Users": [{"Username": "a\x00"}]}),
        ],
    )
    def test_a_list_without_its_members_is_none(self, operation: str, body: Any) -> None:
        found = failure_in(answer(body), operation)
        assert found is not None
        assert (found.action, found.code) == (Action.RETRY, "BrokenAnswer")

    @given(st.data())
    def test_no_beginning_of_a_list_is_one(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.from_regex(r"\A[a-z0-9-]{1,9}_[0-9a-f-]{1,36}\Z"), max_size=5))
        whole = {"Devices": [{"DeviceKey": key} for key in keys], "PaginationToken": "more"}
        body = json.dumps(whole).encode()
        assert failure_in(answer(body), "AdminListDevices") is None
        length = data.draw(st.integers(0, len(body) - 1))
        assert failure_in(HttpAnswer(200, AWS, body[:length]), "AdminListDevices") is not None

    @given(st.binary(max_size=200), st.integers(100, 599))
    def test_whatever_something_else_answers_it_ends_no_command(self, body: bytes, status: int) -> None:
        for operation in WHOLE:
            found = failure_in(HttpAnswer(status, {"content-length": str(len(body))}, body), operation)
            assert found is not None
            assert found.action is not Action.DEAD_LETTER
            assert found.in_doubt

    def test_the_code_of_an_error_is_plain_text(self) -> None:
        hostile = {**AWS, "x-amzn-errortype": "\x1b]0;owned\x07"}
        found = failure_in(answer({"__type": "\x1b[2J"}, hostile, status=400), "AdminUpdateDeviceStatus")
        assert found is not None
        assert (found.action, found.code) == (Action.BACK_OFF, "NotFromAws:HTTP400")


@cache
def calls() -> Cognito:
    return Cognito(connections=2)


def list_devices(command: DeviceStatusCommand) -> Page | Failure | NotSent:
    now = time.monotonic()
    target = load_settings().target(command.user_pool_id)
    slot = Slot(now + 60, degraded=False, name="")
    return calls().list_devices(target, command.user_pool_id, command.username, "", now + 60, slot)


class TestOverHttp:
    """The same, as a server sends it."""

    @pytest.mark.parametrize("announced", [True, False])
    @pytest.mark.parametrize("length", [0, 1, 12, 40])
    def test_a_list_that_is_cut_is_none(
        self, length: int, announced: bool, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        command = new_command()
        cognito.faults.add(Fault.cut(length, announced=announced))
        found = list_devices(command)
        assert isinstance(found, Failure)
        assert (found.action, found.in_doubt) == (Action.RETRY, True)

    def test_a_list_that_is_whole_is_one_although_its_length_is_not_announced(
        self, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        command = new_command()
        cognito.faults.add(Fault.changed(lambda whole: replace(whole, announced=-1)))
        found = list_devices(command)
        assert isinstance(found, Page)
        assert [device["DeviceKey"] for device in found.items] == [command.device_key]

    @pytest.mark.parametrize(
        "change",
        [
            lambda whole: replace(whole, from_aws=False),
            lambda whole: replace(whole, content_type="text/plain"),
            lambda whole: replace(whole, body=b'{"__type":"InternalErrorException"}'),
            lambda whole: replace(whole, body=b"{", announced=2),
            lambda whole: replace(whole, body=b"", announced=2),
            lambda whole: replace(whole, body=b"", announced=-1),
            lambda whole: replace(whole, status=204, body=b""),
            lambda whole: replace(whole, status=206),
        ],
        ids=["no id", "plain text", "an error", "cut", "empty", "nothing", "HTTP 204", "HTTP 206"],
    )
    def test_an_update_whose_answer_is_changed_is_done_again_and_succeeds(
        self,
        change: Callable[[Response], Response],
        worker: Worker,
        cognito: LocalCognito,
        new_command: MakeCommand,
    ) -> None:
        command = new_command()
        cognito.faults.add(Fault.changed(change), times=1)
        assert isinstance(handle(command, Lane.ROUTINE, worker), Waiting)
        assert handle(command, Lane.ROUTINE, worker) == Done(State.SUCCEEDED)
        assert len(cognito.requests) == 2


class TestDoubt:
    def test_after_a_504_that_took_effect_later_the_newest_command_wins(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        newer = new_command()
        older = new_command(
            device_key=newer.device_key, status="remembered", issued_at=newer.issued_at - timedelta(seconds=1)
        )
        cognito.faults.add(Fault.gateway_timeout(effect_after=1.0), nth=1)
        assert isinstance(handle(older, Lane.ROUTINE, worker), Waiting)
        doubt = handle(newer, Lane.ROUTINE, worker)
        assert isinstance(doubt, Waiting)
        assert doubt.error_code == "MayBeUndone"

        def status() -> str:
            return cognito.device_status(newer.user_pool_id, newer.username, newer.device_key)

        give_up_at = time.monotonic() + 30
        while status() != "remembered":  # The effect of the older one, which comes last.
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        let_time_pass(worker.ledger.redis, doubt.due_in)
        assert handle(newer, Lane.ROUTINE, worker) == Done(State.SUCCEEDED)
        assert status() == "not_remembered"

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.html(500),
            Fault.html(302),
            Fault.html(403),
            Fault.html(200),
            Fault.error("InternalErrorException", http_status=500),
            Fault.cut(1),
            Fault.reset(),
        ],
        ids=["HTTP 500", "HTTP 302", "HTTP 403", "HTTP 200", "AWS's 500", "cut", "reset"],
    )
    def test_whatever_may_have_reached_aws_is_in_doubt(
        self, fault: Fault, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        older = new_command(status="remembered")
        cognito.faults.add(fault, times=1)
        assert isinstance(handle(older, Lane.ROUTINE, worker), Waiting)
        doubt = handle(new_command(device_key=older.device_key), Lane.ROUTINE, worker)
        assert isinstance(doubt, Waiting)
        assert doubt.error_code == "MayBeUndone"

    def test_a_refusal_of_aws_leaves_none(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        older = new_command(status="remembered")
        cognito.faults.add(Fault.error("TooManyRequestsException"), times=1)
        assert isinstance(handle(older, Lane.ROUTINE, worker), Waiting)
        newer = new_command(device_key=older.device_key)
        assert handle(newer, Lane.ROUTINE, worker) == Done(State.SUCCEEDED)


class TestStrangers:
    @pytest.fixture
    def settings(self, redis_url: str) -> Settings:
        return load_settings(broker_url=redis_url, max_attempts=3, update_quota=1000)

    @pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 407, 408, 421, 425, 451])
    def test_the_pages_of_a_proxy_dead_letter_nothing_and_count_as_no_attempt(
        self,
        status: int,
        worker: Worker,
        cognito: LocalCognito,
        new_command: MakeCommand,
        settings: Settings,
    ) -> None:
        command = new_command()
        proxy = cognito.faults.add(Fault.html(status))
        for _ in range(5):
            handled = handle(command, Lane.ROUTINE, worker)
            assert isinstance(handled, Waiting)
            assert handled.error_code == f"NotFromAws:HTTP{status}"
        record = worker.ledger.lookup(command.command_id)
        assert record is not None
        assert record.attempts == 0
        assert list(DeadLetters(settings).list()) == []
        cognito.faults.remove(proxy)
        assert handle(command, Lane.ROUTINE, worker) == Done(State.SUCCEEDED)

    def test_they_slow_their_target_down(
        self, worker: Worker, cognito: LocalCognito, new_command: MakeCommand
    ) -> None:
        cognito.faults.add(Fault.html(403))
        gate = worker.gates.update(worker.settings.target(new_command().user_pool_id))
        handle(new_command(), Lane.ROUTINE, worker)
        slot = gate.wait_for_slot(Lane.ROUTINE)
        assert isinstance(slot, Slot)
        assert slot.degraded

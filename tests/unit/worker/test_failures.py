"""Promises of a call: one request on the wire, and every way it may end is read as the table says."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import botocore.session
import pytest
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from device_status import DeviceStatusCommand, load_settings
from device_status.outcomes import Claimed
from device_status.targets import Target
from device_status_worker import aws_http
from device_status_worker.aws_http import CALL_TIMEOUT
from device_status_worker.cognito import MOST_CLIENTS, Cognito, NotSent, Succeeded
from device_status_worker.failures import ACTIONS, Action, Failure, classify
from device_status_worker.gate import Slot
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.wire import Response, error_response
from support import make_command
from support.error_codes import EXPECTED
from support.servers import HOST, free_port

MEANING = {
    "the command is a dead letter": Action.DEAD_LETTER,
    "everybody slows down": Action.SLOW_DOWN,
    "the service failed": Action.RETRY,
    "the target is paused": Action.PAUSE,
}
ROWS = [(code, MEANING[what]) for what, codes in EXPECTED.items() for code in codes]


@pytest.fixture
def command(cognito: LocalCognito) -> DeviceStatusCommand:
    """A command that would succeed."""
    pool = cognito.create_pool()
    cognito.add_user(pool, "ada")
    return make_command(user_pool_id=pool, username="ada", device_key=cognito.add_device(pool, "ada"))


@cache
def shared() -> Cognito:
    """For tests that leave boto3's settings as they are: to make a client costs more than any request."""
    return Cognito(connections=2)


def call(
    command: DeviceStatusCommand,
    *,
    claim_lasts: float = 60.0,
    slot_lasts: float = 60.0,
    client: Cognito | None = None,
) -> Succeeded | Failure | NotSent:
    """Call as a worker does that has a claim and a slot."""
    now = time.monotonic()
    claim = Claimed(command, owner="me", attempts=0, age=0.0, ends_at=now + claim_lasts)
    slot = Slot(now + slot_lasts, degraded=False, name="")
    return (client or shared()).update_device_status(claim, target_of(command), slot)


def target_of(command: DeviceStatusCommand) -> Target:
    return load_settings().target(command.user_pool_id)


def failure(command: DeviceStatusCommand, **options: Any) -> Failure:
    answer = call(command, **options)
    assert isinstance(answer, Failure)
    return answer


def status_of(cognito: LocalCognito, command: DeviceStatusCommand) -> str:
    return cognito.device_status(command.user_pool_id, command.username, command.device_key)


def test_the_table_has_no_code_that_no_test_knows() -> None:
    assert sorted(ACTIONS) == sorted(code for code, _ in ROWS)


def test_every_throttle_that_botocore_knows_slows_everybody_down() -> None:
    legacy = json.loads(files("botocore").joinpath("data", "_retry.json").read_text(encoding="utf-8"))
    found = {
        policy["applies_when"]["response"]["service_error_code"]
        for policy in legacy["definitions"].values()
        if "service_error_code" in policy["applies_when"].get("response", {})
    }
    assert len(found) >= 5
    for code in {*found, *ThrottledRetryableChecker._THROTTLED_ERROR_CODES}:
        assert ACTIONS[code] is Action.SLOW_DOWN, code


def test_what_botocore_calls_transient_is_never_the_commands_fault() -> None:
    for code in TransientRetryableChecker._TRANSIENT_ERROR_CODES:
        assert ACTIONS[code] in (Action.RETRY, Action.SLOW_DOWN), code


def test_every_error_that_aws_models_for_the_operations_used_here_is_in_the_table() -> None:
    model = botocore.session.get_session().get_service_model("cognito-idp")
    for operation in ("AdminUpdateDeviceStatus", "AdminListDevices", "ListUsers"):
        for shape in model.operation_model(operation).error_shapes:
            assert shape.name in ACTIONS, shape.name


def test_a_success_changes_the_device_with_one_request_and_says_its_id(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    answer = call(command)
    (request,) = cognito.requests
    assert answer == Succeeded(request.request_id)
    assert status_of(cognito, command) == "not_remembered"


@pytest.mark.parametrize(("code", "action"), ROWS)
def test_each_error_code_of_aws_costs_one_request_and_ends_as_its_row_says(
    code: str, action: Action, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    http_status = 500 if action is Action.RETRY else 400
    cognito.faults.add(Fault.error(code, http_status=http_status, message="why"))
    found = failure(command)
    (request,) = cognito.requests
    assert found == Failure(action, code, "why", request.request_id, in_doubt=action is Action.RETRY)


@pytest.mark.parametrize("named", ["a namespace", "a URL", "only the header"])
def test_an_error_code_is_found_wherever_aws_puts_it(
    named: str, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    spelling = {
        "a namespace": "com.amazonaws.cognito.identity.idp.model#UserNotFoundException",
        "a URL": "UserNotFoundException:http://internal.amazon.com/coral/com.amazonaws.cognito/",
        "only the header": "UserNotFoundException",
    }[named]
    refusal = error_response(spelling, "User does not exist.", 400)
    if named == "only the header":
        refusal = replace(refusal, body=b"")
    cognito.faults.add(Fault("spelled", refusal))
    found = failure(command)
    assert (found.action, found.code) == (Action.DEAD_LETTER, "UserNotFoundException")


@pytest.mark.parametrize("code", ["UserNotFoundException", "ResourceNotFoundException"])
def test_cognitos_own_errors_need_no_fault(
    code: str, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    wrong = {"username": "nobody"} if code.startswith("User") else {"user_pool_id": "us-east-1_Nowhere"}
    found = failure(command.model_copy(update=wrong))
    assert (found.action, found.code) == (Action.DEAD_LETTER, code)
    assert len(cognito.requests) == 1


@pytest.mark.parametrize(
    ("http_status", "action"),
    [
        (400, Action.DEAD_LETTER),
        (401, Action.PAUSE),
        (403, Action.PAUSE),
        (404, Action.DEAD_LETTER),
        (418, Action.DEAD_LETTER),
        (429, Action.SLOW_DOWN),
        (500, Action.RETRY),
        (502, Action.RETRY),
        (503, Action.RETRY),
        (509, Action.SLOW_DOWN),
    ],
)
def test_an_error_of_aws_that_is_not_in_the_table_goes_by_its_http_status(
    http_status: int, action: Action, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.error("NewException", http_status=http_status))
    found = failure(command)
    assert (found.action, found.code) == (action, "NewException")
    assert found.in_doubt == (action is Action.RETRY)
    assert len(cognito.requests) == 1


@pytest.mark.parametrize("form", ["HTML", "JSON", "JSON with a code", "nothing"])
@pytest.mark.parametrize(
    ("http_status", "action"),
    [
        (200, Action.BACK_OFF),
        (204, Action.BACK_OFF),
        (302, Action.BACK_OFF),
        (400, Action.BACK_OFF),
        (403, Action.BACK_OFF),
        (404, Action.BACK_OFF),
        (407, Action.BACK_OFF),
        (408, Action.BACK_OFF),
        (421, Action.BACK_OFF),
        (425, Action.BACK_OFF),
        (451, Action.BACK_OFF),
        (429, Action.SLOW_DOWN),
        (500, Action.BACK_OFF),
        (502, Action.BACK_OFF),
        (503, Action.BACK_OFF),
        (504, Action.BACK_OFF),
    ],
)
def test_what_something_else_answers_is_never_the_commands_fault_and_leaves_doubt(
    http_status: int, action: Action, form: str, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    body = {
        "HTML": b"<html>",
        "JSON": b'{"message": "Forbidden"}',
        "JSON with a code": b'{"__type": "UserNotFoundException"}',
        "nothing": b"",
    }[form]
    media_type = "text/html" if form == "HTML" else "application/json"
    cognito.faults.add(Fault("page", Response(http_status, body, media_type, from_aws=False)))
    found = failure(command)
    assert (found.action, found.in_doubt) == (action, True)
    if action is Action.BACK_OFF:
        assert found.code == f"NotFromAws:HTTP{http_status}"
    assert status_of(cognito, command) == "remembered"
    assert len(cognito.requests) == 1


def test_a_connection_that_is_reset_may_have_carried_a_request(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.reset())
    found = failure(command)
    assert (found.action, found.in_doubt) == (Action.RETRY, True)
    assert len(cognito.requests) == 1


def test_an_answer_that_is_lost_is_told_although_the_device_has_changed(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.answer_lost())
    found = failure(command)
    assert (found.action, found.in_doubt) == (Action.RETRY, True)
    assert status_of(cognito, command) == "not_remembered"
    assert len(cognito.requests) == 1


def test_an_answer_that_does_not_come_ends_in_a_read_timeout(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_http, "READ_TIMEOUT", 0.3)
    cognito.faults.add(Fault.hang(5.0))
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code, found.in_doubt) == (Action.RETRY, "ReadTimeoutError", True)
    assert len(cognito.requests) == 1


def test_a_refused_connection_carried_nothing(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", f"http://{HOST}:{free_port()}")
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code, found.in_doubt) == (Action.BACK_OFF, "EndpointConnectionError", False)
    assert cognito.requests == []


def test_a_connection_that_is_never_accepted_carried_nothing(
    command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_http, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server((HOST, 0), backlog=1) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:  # More than the backlog holds: the kernel answers no more.
            each.setblocking(False)
            each.connect_ex(address)
        monkeypatch.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", f"http://{HOST}:{address[1]}")
        found = failure(command, client=Cognito(1))
        for each in waiting:
            each.close()
    assert (found.action, found.code, found.in_doubt) == (Action.BACK_OFF, "ConnectTimeoutError", False)


def test_missing_credentials_are_our_fault_and_nothing_leaves(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code, found.in_doubt) == (Action.PAUSE, "NoCredentialsError", False)
    assert cognito.requests == []


def test_a_profile_that_does_not_exist_is_our_fault(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code) == (Action.PAUSE, "ProfileNotFound")
    assert cognito.requests == []


def test_a_region_that_can_be_none_is_the_commands_fault_and_nothing_leaves(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    found = failure(command.model_copy(update={"user_pool_id": "-no-region-_Ab12"}), client=Cognito(1))
    assert (found.action, found.code) == (Action.DEAD_LETTER, "InvalidRegionError")
    assert cognito.requests == []


def test_nothing_is_sent_once_the_slot_is_void(cognito: LocalCognito, command: DeviceStatusCommand) -> None:
    assert call(command, slot_lasts=-0.001) == NotSent()
    assert cognito.requests == []


def test_nothing_is_sent_whose_answer_could_come_after_the_claim(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    assert call(command, claim_lasts=CALL_TIMEOUT - 0.001) == NotSent()
    assert cognito.requests == []


def test_a_warm_up_sends_nothing(cognito: LocalCognito, command: DeviceStatusCommand) -> None:
    client = Cognito(connections=1)
    client.warm_up(command, target_of(command))
    assert cognito.requests == []
    now = time.monotonic()
    claim = Claimed(command, "me", 0, 0.0, now + 60)
    assert isinstance(
        client.update_device_status(claim, target_of(command), Slot(now + 60, degraded=False, name="")),
        Succeeded,
    )


def test_the_message_of_aws_is_bounded(cognito: LocalCognito, command: DeviceStatusCommand) -> None:
    cognito.faults.add(Fault.error("NewException", message="x" * 5000))
    assert failure(command).message == "x" * 1000


@pytest.mark.parametrize(
    "body",
    [b"\xe9chec", b'{"message": null}', b"[1]", b'{"__type": 5}'],
    ids=["Latin-1", "null", "list", "number"],
)
def test_an_answer_that_can_not_be_read_is_retried_and_no_attempt(
    body: bytes, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault("unreadable", Response(503, body, from_aws=False)))
    assert failure(command).action is Action.BACK_OFF


def test_in_a_region_that_does_not_exist_nobody_answers_and_that_is_an_attempt(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", f"http://{HOST}:{free_port()}")
    mistyped = command.model_copy(update={"user_pool_id": "eu-wset-1_Ab12"})
    found = failure(mistyped, client=Cognito(1))
    assert (found.action, found.code) == (Action.RETRY, "EndpointConnectionError")


def test_what_is_no_error_of_botocore_is_retried_with_its_name_and_without_its_text() -> None:
    found = classify(ZeroDivisionError("ada"))
    assert (found.action, found.code, found.in_doubt) == (Action.RETRY, "ZeroDivisionError", True)
    assert "ada" not in found.message


def test_made_up_regions_do_not_fill_the_memory(command: DeviceStatusCommand) -> None:
    client, target = Cognito(connections=1), target_of(command)
    made = client._client(target)
    client._clients |= {("", f"eu-west-{number}"): made for number in range(MOST_CLIENTS)}
    client._client(replace(target, region="eu-north-1"))
    assert len(client._clients) <= MOST_CLIENTS + 1

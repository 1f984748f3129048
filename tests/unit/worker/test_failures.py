"""Promises of a call: one request on the wire, and every way it may end is read as the table says."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from device_status import DeviceStatusCommand, load_settings
from device_status.outcomes import Claimed
from device_status.targets import Target
from device_status_worker import cognito as cognito_module
from device_status_worker.cognito import CALL_TIMEOUT, MOST_CLIENTS, Cognito, NotSent, Succeeded
from device_status_worker.failures import ACTIONS, Action, Failure, classify
from device_status_worker.gate import Slot
from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.wire import Response
from support import make_command
from support.servers import HOST, free_port

DESIGNED = {
    Action.DEAD_LETTER: [
        "UserNotFoundException",
        "ResourceNotFoundException",
        "InvalidParameterException",
        "InvalidUserPoolConfigurationException",
        "NotAuthorizedException",
    ],
    Action.SLOW_DOWN: [
        "TooManyRequestsException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
    ],
    Action.RETRY: ["InternalErrorException"],
    Action.PAUSE: [
        "AccessDeniedException",
        "ExpiredTokenException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "RequestExpired",
    ],
}


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


def test_the_table_says_what_the_design_says() -> None:
    for action, codes in DESIGNED.items():
        assert {code: ACTIONS[code] for code in codes} == dict.fromkeys(codes, action)


def test_a_success_changes_the_device_with_one_request_and_says_its_id(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    answer = call(command)
    (request,) = cognito.requests
    assert answer == Succeeded(request.request_id)
    assert status_of(cognito, command) == "not_remembered"


@pytest.mark.parametrize("code", sorted(ACTIONS))
def test_each_error_code_of_aws_costs_one_request_and_ends_as_its_row_says(
    code: str, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    http_status = 500 if ACTIONS[code] is Action.RETRY else 400
    cognito.faults.add(Fault.error(code, http_status=http_status, message="why"))
    found = failure(command)
    (request,) = cognito.requests
    assert found == Failure(ACTIONS[code], code, "why", request.request_id, unanswered=False)


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
        (404, Action.DEAD_LETTER),
        (418, Action.DEAD_LETTER),
        (429, Action.SLOW_DOWN),
        (500, Action.RETRY),
        (502, Action.RETRY),
        (503, Action.RETRY),
    ],
)
@pytest.mark.parametrize("form", ["JSON with an unknown code", "HTML"])
def test_what_is_not_in_the_table_goes_by_its_http_status(
    form: str, http_status: int, action: Action, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    named = form.startswith("JSON")
    cognito.faults.add(
        Fault.error("NewException", http_status=http_status) if named else Fault.html(http_status)
    )
    found = failure(command)
    assert (found.action, found.code) == (action, "NewException" if named else f"HTTP{http_status}")
    assert not found.unanswered
    assert len(cognito.requests) == 1


def test_an_empty_page_of_a_proxy_is_the_services_fault(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.html(503, body=""))
    found = failure(command)
    assert (found.action, found.code) == (Action.RETRY, "HTTP503")


def test_a_connection_that_is_reset_may_have_carried_a_request(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.reset())
    found = failure(command)
    assert (found.action, found.unanswered) == (Action.RETRY, True)
    assert len(cognito.requests) == 1


def test_an_answer_that_is_lost_is_told_although_the_device_has_changed(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.answer_lost())
    found = failure(command)
    assert (found.action, found.unanswered) == (Action.RETRY, True)
    assert status_of(cognito, command) == "not_remembered"
    assert len(cognito.requests) == 1


def test_an_answer_that_does_not_come_ends_in_a_read_timeout(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cognito_module, "READ_TIMEOUT", 0.3)
    cognito.faults.add(Fault.hang(5.0))
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code, found.unanswered) == (Action.RETRY, "ReadTimeoutError", True)
    assert len(cognito.requests) == 1


def test_a_refused_connection_carried_nothing(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", f"http://{HOST}:{free_port()}")
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code, found.unanswered) == (Action.RETRY, "EndpointConnectionError", False)
    assert cognito.requests == []


def test_a_connection_that_is_never_accepted_carried_nothing(
    command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cognito_module, "CONNECT_TIMEOUT", 0.3)
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
    assert (found.action, found.code, found.unanswered) == (Action.RETRY, "ConnectTimeoutError", False)


def test_missing_credentials_are_our_fault_and_nothing_leaves(
    cognito: LocalCognito, command: DeviceStatusCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = failure(command, client=Cognito(1))
    assert (found.action, found.code, found.unanswered) == (Action.PAUSE, "NoCredentialsError", False)
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


@pytest.mark.parametrize("status", [200, 503])
def test_a_page_in_place_of_an_answer_is_no_success(
    status: int, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.html(status))
    found = failure(command)
    assert (found.action, found.request_id) == (Action.RETRY, "")
    assert status_of(cognito, command) == "remembered"


def test_a_page_in_place_of_a_list_does_not_mean_that_it_is_empty(
    cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault.html(200))
    now = time.monotonic()
    slot = Slot(now + 60, degraded=False, name="")
    found = shared().list_devices(
        target_of(command), command.user_pool_id, command.username, "", now + 60, slot
    )
    assert isinstance(found, Failure)
    assert (found.action, found.code) == (Action.RETRY, "ForeignAnswerError")


@pytest.mark.parametrize(
    "body",
    [b"\xe9chec", b'{"message": null}', b"[1]", b'{"__type": 5}'],
    ids=["Latin-1", "null", "list", "number"],
)
def test_an_answer_that_botocore_can_not_read_is_retried(
    body: bytes, cognito: LocalCognito, command: DeviceStatusCommand
) -> None:
    cognito.faults.add(Fault("unreadable", Response(503, body, from_aws=False)))
    assert failure(command).action is Action.RETRY


def test_what_is_no_error_of_botocore_is_retried_with_its_name_and_without_its_text() -> None:
    found = classify(ZeroDivisionError("ada"))
    assert (found.action, found.code, found.unanswered) == (Action.RETRY, "ZeroDivisionError", True)
    assert "ada" not in found.message


def test_made_up_regions_do_not_fill_the_memory(command: DeviceStatusCommand) -> None:
    client, target = Cognito(connections=1), target_of(command)
    made = client._client(target)
    client._clients |= {("", f"eu-west-{number}"): made for number in range(MOST_CLIENTS)}
    client._client(replace(target, region="eu-north-1"))
    assert len(client._clients) <= MOST_CLIENTS + 1

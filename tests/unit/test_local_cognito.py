"""Promises of `device_status_worker.local.LocalCognito`, asked by the real boto3 over HTTP."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from device_status_worker.local import Fault, LocalCognito
from device_status_worker.local.faults import Faults
from device_status_worker.local.pools import Scope
from device_status_worker.local.probe import PORTS
from device_status_worker.local.quota import Quota
from device_status_worker.local.shapes import MAX_LIMIT, MEMBERS, STATUSES, TEXTS

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

UPDATE = "AdminUpdateDeviceStatus"
NO_DEVICE = "us-east-1_00000000-0000-0000-0000-000000000000"
SESSION = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local")

Call = Callable[..., Any]


@cache  # a client takes longer to make than most tests to run
def connect(url: str, region: str = "us-east-1", read_timeout: float = 10) -> CognitoIdentityProviderClient:
    config = Config(
        retries={"total_max_attempts": 1},
        read_timeout=read_timeout,
        max_pool_connections=16,
        parameter_validation=False,  # what is wrong must reach the server
    )
    return SESSION.client("cognito-idp", region_name=region, endpoint_url=url, config=config)


def code_of(call: Call, **arguments: object) -> str:
    """The error code of a call; "ok" where there is none."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "ok"


def message_of(call: Call, **arguments: object) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Message"]


class World:
    """A Cognito with a pool of its own, one user, one remembered device, and a client that checks nothing."""

    def __init__(self, cognito: LocalCognito) -> None:
        self.cognito = cognito
        self.pool = cognito.create_pool()
        cognito.add_user(self.pool, "u1")
        self.key = cognito.add_device(self.pool, "u1")
        self.client = connect(cognito.url)

    @property
    def user(self) -> dict[str, str]:
        return {"UserPoolId": self.pool, "Username": "u1"}

    @property
    def device(self) -> dict[str, str]:
        return {**self.user, "DeviceKey": self.key}

    @property
    def status(self) -> str:
        return self.cognito.device_status(self.pool, "u1", self.key)

    def unremember(self, client: CognitoIdentityProviderClient | None = None) -> None:
        """Updates the one device to `not_remembered`."""
        (client or self.client).admin_update_device_status(
            UserPoolId=self.pool, Username="u1", DeviceKey=self.key, DeviceRememberedStatus="not_remembered"
        )

    @property
    def update_code(self) -> str:
        return code_of(self.unremember)

    @property
    def calls(self) -> dict[str, Call]:
        return {
            UPDATE: self.client.admin_update_device_status,
            "AdminGetDevice": self.client.admin_get_device,
            "AdminListDevices": self.client.admin_list_devices,
            "AdminForgetDevice": self.client.admin_forget_device,
        }

    def arguments(self, operation: str, **changes: object) -> dict[str, object]:
        base: dict[str, object] = dict(self.user if operation == "AdminListDevices" else self.device)
        return {**base, **changes}


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalCognito]:
    with LocalCognito() as running:
        yield running


@pytest.fixture
def cognito(shared: LocalCognito) -> Iterator[LocalCognito]:
    """One server for all tests; what a test leaves behind is swept away."""
    yield shared
    if any(request.response_code == "pending" for request in shared.requests):
        shared.stop()  # ends what hangs
    shared.start()
    shared.faults.clear()
    shared.quota.clear()
    shared.clear_requests()


@pytest.fixture
def world(cognito: LocalCognito) -> World:
    return World(cognito)


def add_devices(world: World, count: int) -> list[str]:
    return [world.key, *(world.cognito.add_device(world.pool, "u1") for _ in range(count - 1))]


def connections_made(world: World) -> int:
    """How many connections boto3's client has opened so far."""
    session = world.client._endpoint.http_session  # type: ignore[attr-defined]
    return int(session._manager.connection_from_url(world.cognito.url).num_connections)


class TestUpdate:
    def test_a_device_gets_the_status_that_was_asked_for(self, world: World) -> None:
        world.unremember()
        assert world.status == "not_remembered"
        world.client.admin_update_device_status(
            UserPoolId=world.pool, Username="u1", DeviceKey=world.key, DeviceRememberedStatus="remembered"
        )
        assert world.status == "remembered"

    def test_no_other_device_changes(self, world: World) -> None:
        other = world.cognito.add_device(world.pool, "u1", status="remembered")
        world.unremember()
        assert sorted(world.cognito.devices(world.pool)) == sorted(
            [("u1", world.key, "not_remembered"), ("u1", other, "remembered")]
        )

    def test_without_a_status_nothing_changes(self, world: World) -> None:
        world.client.admin_update_device_status(UserPoolId=world.pool, Username="u1", DeviceKey=world.key)
        assert world.status == "remembered"

    def test_sixteen_callers_at_once_lose_no_update(self, world: World) -> None:
        keys = add_devices(world, 200)

        def update(key: str) -> None:
            world.client.admin_update_device_status(
                UserPoolId=world.pool, Username="u1", DeviceKey=key, DeviceRememberedStatus="not_remembered"
            )

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(update, keys))
        assert {status for _, _, status in world.cognito.devices(world.pool)} == {"not_remembered"}
        assert Counter(request.device_key for request in world.cognito.requests) == Counter(keys)


class TestGet:
    def test_a_device_shows_the_attributes_and_dates_that_aws_shows(self, world: World) -> None:
        device = world.client.admin_get_device(UserPoolId=world.pool, Username="u1", DeviceKey=world.key)[
            "Device"
        ]
        attributes = {attribute["Name"]: attribute.get("Value") for attribute in device["DeviceAttributes"]}
        owner = f"u1.{world.pool}"
        assert attributes == {
            "device_status": "valid",
            "device_name": "Local device",
            "dev:device_arn": f"arn:aws:cognito-idp:us-east-1:123456789012:owner/{owner}/device/{world.key}",
            "dev:device_owner": owner,
            "last_ip_used": "192.0.2.1",
            "dev:device_remembered_status": "remembered",
            "dev:device_sdk": "aws-sdk",
        }
        assert device["DeviceKey"] == world.key
        for date in ("DeviceCreateDate", "DeviceLastModifiedDate", "DeviceLastAuthenticatedDate"):
            assert abs((datetime.now(UTC) - device[date]).total_seconds()) < 60

    def test_a_changed_device_shows_its_new_status_and_the_time(self, world: World) -> None:
        before = world.client.admin_get_device(**world.device)["Device"]
        world.unremember()
        after = world.client.admin_get_device(**world.device)["Device"]
        assert {"Name": "dev:device_remembered_status", "Value": "not_remembered"} in after[
            "DeviceAttributes"
        ]
        assert after["DeviceLastModifiedDate"] >= before["DeviceLastModifiedDate"]
        assert after["DeviceCreateDate"] == before["DeviceCreateDate"]


class TestList:
    def pages(self, world: World, limit: int | None) -> list[list[str]]:
        pages = []
        more: dict[str, Any] = {} if limit is None else {"Limit": limit}
        while True:
            answer = world.client.admin_list_devices(UserPoolId=world.pool, Username="u1", **more)
            pages.append([device["DeviceKey"] for device in answer["Devices"]])
            if "PaginationToken" not in answer:
                return pages
            more["PaginationToken"] = answer["PaginationToken"]

    def test_130_devices_come_in_pages_of_60_and_each_once(self, world: World) -> None:
        keys = add_devices(world, 130)
        pages = self.pages(world, 60)
        assert [len(page) for page in pages] == [60, 60, 10]
        assert sorted(key for page in pages for key in page) == sorted(keys)

    @pytest.mark.parametrize("limit", [None, 0])
    def test_a_page_has_60_where_no_limit_is_given(self, world: World, limit: int | None) -> None:
        add_devices(world, 61)
        assert [len(page) for page in self.pages(world, limit)] == [60, 1]

    def test_a_full_last_page_promises_no_other(self, world: World) -> None:
        add_devices(world, 4)
        assert [len(page) for page in self.pages(world, 2)] == [2, 2]

    def test_a_user_without_devices_has_an_empty_list(self, world: World) -> None:
        world.cognito.add_user(world.pool, "u2")
        assert world.client.admin_list_devices(UserPoolId=world.pool, Username="u2")["Devices"] == []

    def test_devices_forgotten_between_two_pages_make_none_be_left_out(self, world: World) -> None:
        keys = add_devices(world, 6)
        first = world.client.admin_list_devices(UserPoolId=world.pool, Username="u1", Limit=3)
        for device in first["Devices"]:
            world.client.admin_forget_device(**{**world.device, "DeviceKey": device["DeviceKey"]})
        second = world.client.admin_list_devices(
            UserPoolId=world.pool, Username="u1", Limit=3, PaginationToken=first["PaginationToken"]
        )
        listed = [device["DeviceKey"] for device in (*first["Devices"], *second["Devices"])]
        assert sorted(listed) == sorted(keys)

    def test_a_token_of_another_user_is_refused(self, world: World) -> None:
        add_devices(world, 2)
        world.cognito.add_user(world.pool, "u2")
        token = world.client.admin_list_devices(UserPoolId=world.pool, Username="u1", Limit=1)[
            "PaginationToken"
        ]
        for bad in (token, "nonsense", "WzFd", "W10="):
            code = code_of(
                world.client.admin_list_devices, UserPoolId=world.pool, Username="u2", PaginationToken=bad
            )
            assert code == "InvalidParameterException"


class TestForget:
    def test_a_forgotten_device_is_gone_and_the_others_stay(self, world: World) -> None:
        other = world.cognito.add_device(world.pool, "u1")
        world.client.admin_forget_device(**world.device)
        assert list(world.cognito.devices(world.pool)) == [("u1", other, "remembered")]
        assert world.update_code == "ResourceNotFoundException"
        with pytest.raises(KeyError):
            _ = world.status

    def test_it_is_forgotten_once(self, world: World) -> None:
        world.client.admin_forget_device(**world.device)
        assert message_of(world.client.admin_forget_device, **world.device) == "Device does not exist."


class TestErrors:
    @pytest.mark.parametrize("operation", MEMBERS)
    def test_an_unknown_pool(self, world: World, operation: str) -> None:
        arguments = world.arguments(operation, UserPoolId="us-east-1_x")
        assert code_of(world.calls[operation], **arguments) == "ResourceNotFoundException"
        assert message_of(world.calls[operation], **arguments) == "User pool us-east-1_x does not exist."

    @pytest.mark.parametrize("operation", MEMBERS)
    def test_a_pool_is_not_known_in_another_region(self, world: World, operation: str) -> None:
        world.client = connect(world.cognito.url, "eu-west-1")
        code = code_of(world.calls[operation], **world.arguments(operation))
        assert code == "ResourceNotFoundException"

    @pytest.mark.parametrize(
        ("operation", "code"),
        [
            (UPDATE, "UserNotFoundException"),
            ("AdminForgetDevice", "UserNotFoundException"),
            ("AdminGetDevice", "ResourceNotFoundException"),
            ("AdminListDevices", "ResourceNotFoundException"),
        ],
    )
    def test_an_unknown_user(self, world: World, operation: str, code: str) -> None:
        arguments = world.arguments(operation, Username="nobody")
        assert code_of(world.calls[operation], **arguments) == code
        assert message_of(world.calls[operation], **arguments) == "User does not exist."

    @pytest.mark.parametrize("operation", [UPDATE, "AdminGetDevice", "AdminForgetDevice"])
    def test_an_unknown_device(self, world: World, operation: str) -> None:
        arguments = world.arguments(operation, DeviceKey=NO_DEVICE)
        assert code_of(world.calls[operation], **arguments) == "ResourceNotFoundException"
        assert message_of(world.calls[operation], **arguments) == "Device does not exist."

    @pytest.mark.parametrize("operation", MEMBERS)
    def test_a_pool_that_tracks_no_devices(self, world: World, operation: str) -> None:
        world.pool = world.cognito.create_pool(device_tracking=False)
        code = code_of(world.calls[operation], **world.arguments(operation))
        assert code == "InvalidUserPoolConfigurationException"

    def test_the_devices_of_a_deleted_user_are_not_those_of_a_later_one_of_that_name(
        self, world: World
    ) -> None:
        world.client.admin_delete_user(UserPoolId=world.pool, Username="u1")
        assert world.update_code == "UserNotFoundException"
        world.cognito.add_user(world.pool, "u1")
        assert world.update_code == "ResourceNotFoundException"

    @pytest.mark.parametrize(
        ("operation", "member", "value", "constraint"),
        [
            (UPDATE, "deviceKey", "bad", r"satisfy regular expression pattern: [\w-]+_[0-9a-f-]+"),
            (UPDATE, "deviceKey", f"us-east-1_{'a' * 60}", "have length less than or equal to 55"),
            (UPDATE, "deviceKey", "", "have length greater than or equal to 1"),
            (UPDATE, "deviceKey", None, "not be null"),
            (
                UPDATE,
                "userPoolId",
                "nounderscore",
                r"satisfy regular expression pattern: [\w-]+_[0-9a-zA-Z]+",
            ),
            (UPDATE, "userPoolId", "ü_1", r"satisfy regular expression pattern: [\w-]+_[0-9a-zA-Z]+"),
            (UPDATE, "username", "a b", r"satisfy regular expression pattern: [\p{L}\p{M}\p{S}\p{N}\p{P}]+"),
            (UPDATE, "username", "x" * 129, "have length less than or equal to 128"),
            (
                UPDATE,
                "deviceRememberedStatus",
                "lost",
                "satisfy enum value set: [remembered, not_remembered]",
            ),
            ("AdminGetDevice", "deviceKey", None, "not be null"),
            ("AdminForgetDevice", "username", None, "not be null"),
            ("AdminListDevices", "limit", 61, "have value less than or equal to 60"),
            ("AdminListDevices", "limit", -1, "have value greater than or equal to 0"),
            ("AdminListDevices", "paginationToken", "a b", r"satisfy regular expression pattern: [\S]+"),
        ],
    )
    def test_a_bad_member_is_named_and_its_value_never_repeated(
        self, world: World, operation: str, member: str, value: object, constraint: str
    ) -> None:
        arguments = world.arguments(operation)
        name = member[0].upper() + member[1:]
        if value is None:
            del arguments[name]
        else:
            arguments[name] = value
        assert code_of(world.calls[operation], **arguments) == "InvalidParameterException"
        message = message_of(world.calls[operation], **arguments)
        prefix = "1 validation error detected: Value at "
        assert message == f"{prefix}'{member}' failed to satisfy constraint: Member must {constraint}"

    def test_all_bad_members_are_named_at_once(self, world: World) -> None:
        message = message_of(
            world.client.admin_update_device_status, UserPoolId="x", Username="u1", DeviceKey="y"
        )
        assert message.startswith("2 validation errors detected: Value at 'userPoolId' failed")
        assert "; Value at 'deviceKey' failed" in message

    def test_any_letter_mark_symbol_number_or_punctuation_may_be_in_a_username(self, world: World) -> None:
        for name in (
            "müller@example.org",
            "山田",
            "e\N{COMBINING ACUTE ACCENT}",
            "\N{GRINNING FACE}",
            "x" * 128,
        ):
            world.cognito.add_user(world.pool, name)
            key = world.cognito.add_device(world.pool, name)
            code = code_of(world.client.admin_get_device, UserPoolId=world.pool, Username=name, DeviceKey=key)
            assert code == "ok"

    @pytest.mark.parametrize("member", ["Username", "Limit"])
    def test_a_member_of_the_wrong_type(self, world: World, member: str) -> None:
        wrong = {**world.user, "Limit": 3, member: ["x"]}
        assert code_of(world.client.admin_list_devices, **wrong) == "SerializationException"

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
    def test_a_body_that_is_no_json_object(self, world: World, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", world.cognito.port)
        target = f"AWSCognitoIdentityProviderService.{UPDATE}"
        connection.request("POST", "/", body, {"X-Amz-Target": target})
        response = connection.getresponse()
        assert response.status == 400
        assert json.load(response)["__type"] == "SerializationException"
        connection.close()

    def test_our_table_of_constraints_is_that_of_botocores_model(self) -> None:
        folder = Path(botocore.__file__).parent / "data" / "cognito-idp" / "2016-04-18"
        model = json.loads(gzip.decompress((folder / "service-2.json.gz").read_bytes()))
        shapes = model["shapes"]
        for operation, members in MEMBERS.items():
            request = shapes[model["operations"][operation]["input"]["shape"]]
            assert set(request["members"]) == set(members)
            assert set(request["required"]) == {name for name, required in members.items() if required}
            for name, member in request["members"].items():
                shape = shapes[member["shape"]]
                if name == "Limit":
                    assert (shape["min"], shape["max"]) == (0, MAX_LIMIT)
                elif name == "DeviceRememberedStatus":
                    assert tuple(shape["enum"]) == STATUSES
                else:
                    text = TEXTS[name]
                    assert (text.min_length, text.max_length) == (shape["min"], shape.get("max"))
                    assert text.pattern == shape["pattern"]


class TestBesideMoto:
    def test_pools_and_users_made_over_http_have_devices_too(self, world: World) -> None:
        pool = world.client.create_user_pool(
            PoolName="p", DeviceConfiguration={"ChallengeRequiredOnNewDevice": False}
        )["UserPool"]["Id"]
        world.client.admin_create_user(UserPoolId=pool, Username="u2")
        key = world.cognito.add_device(pool, "u2")
        assert list(world.cognito.devices(pool)) == [("u2", key, "remembered")]
        world.client.admin_forget_device(UserPoolId=pool, Username="u2", DeviceKey=key)
        assert list(world.cognito.devices(pool)) == []
        world.client.delete_user_pool(UserPoolId=pool)

    def test_a_user_is_found_by_email_where_the_pool_says_so(self, world: World) -> None:
        pool = world.client.create_user_pool(
            PoolName="p",
            UsernameAttributes=["email"],
            DeviceConfiguration={"DeviceOnlyRememberedOnUserPrompt": True},
        )["UserPool"]["Id"]
        world.client.admin_create_user(UserPoolId=pool, Username="a@example.org")
        key = world.cognito.add_device(pool, "a@example.org")
        answer = world.client.admin_list_devices(UserPoolId=pool, Username="a@example.org")
        assert [device["DeviceKey"] for device in answer["Devices"]] == [key]
        world.client.delete_user_pool(UserPoolId=pool)

    def test_every_answer_carries_the_request_id_that_the_log_has(self, world: World) -> None:
        client = world.client
        answers: list[Any] = [
            client.admin_get_device(**world.device)["ResponseMetadata"],
            client.admin_get_user(**world.user)["ResponseMetadata"],
        ]
        refused: list[Call] = [client.admin_list_devices, client.admin_get_user]
        for call in refused:
            with pytest.raises(ClientError) as caught:
                call(UserPoolId=world.pool, Username="nobody")
            answers.append(caught.value.response["ResponseMetadata"])
        ids = [answer["HTTPHeaders"]["x-amzn-requestid"] for answer in answers]
        assert ids == [answer["RequestId"] for answer in answers]
        assert ids == [request.request_id for request in world.cognito.requests]
        assert len({uuid.UUID(request_id) for request_id in ids}) == 4

    def test_an_operation_that_moto_lacks_is_an_error_and_no_crash(self, world: World) -> None:
        code = code_of(world.client.get_csv_header, UserPoolId=world.pool)
        assert code == "UnknownOperationException"
        assert [request.response_code for request in world.cognito.requests] == [code]

    def test_a_role_of_another_account_reaches_the_pools_of_that_account(self, cognito: LocalCognito) -> None:
        pool = cognito.create_pool(account="111122223333")
        cognito.add_user(pool, "u1")
        key = cognito.add_device(pool, "u1")
        arguments = {"UserPoolId": pool, "Username": "u1", "DeviceKey": key}
        assert code_of(connect(cognito.url).admin_get_device, **arguments) == "ResourceNotFoundException"
        sts = SESSION.client("sts", region_name="us-east-1", endpoint_url=cognito.url)
        role = sts.assume_role(RoleArn="arn:aws:iam::111122223333:role/devices", RoleSessionName="test")
        credentials = role["Credentials"]
        assumed = boto3.client(
            "cognito-idp",
            region_name="us-east-1",
            endpoint_url=cognito.url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )
        assert code_of(assumed.admin_get_device, **arguments) == "ok"

    def test_pools_are_gone_with_the_context_that_made_them(self) -> None:
        with LocalCognito() as first:
            pool = first.create_pool()
        with LocalCognito() as second:
            code = code_of(connect(second.url).describe_user_pool, UserPoolId=pool)
        assert code == "ResourceNotFoundException"


class TestSeeding:
    def test_what_cognito_would_refuse_is_refused(self, world: World) -> None:
        add_device, pool = world.cognito.add_device, world.pool
        refused: list[Callable[[], object]] = [
            lambda: world.cognito.create_pool("mars-north-1"),
            lambda: world.cognito.add_user(pool, "a b"),
            lambda: world.cognito.add_user(pool, "u1"),
            lambda: add_device(pool, "u1", "bad"),
            lambda: add_device(pool, "u1", world.key),
            lambda: add_device(pool, "u1", status="lost"),
        ]
        for attempt in refused:
            with pytest.raises(ValueError, match=r"Cognito|exists|already"):
                attempt()

    def test_a_device_needs_its_user(self, world: World) -> None:
        with pytest.raises(KeyError):
            world.cognito.add_device(world.pool, "nobody")

    def test_a_device_can_be_given_key_and_status(self, world: World) -> None:
        key = world.cognito.add_device(world.pool, "u1", NO_DEVICE, "not_remembered")
        assert world.cognito.device_status(world.pool, "u1", key) == "not_remembered"

    def test_a_device_key_begins_with_its_pools_region(self, cognito: LocalCognito) -> None:
        pool = cognito.create_pool("ap-southeast-2")
        assert pool.startswith("ap-southeast-2_")
        cognito.add_user(pool, "u1")
        key = cognito.add_device(pool, "u1")
        assert key.startswith("ap-southeast-2_")
        client = connect(cognito.url, "ap-southeast-2")
        assert client.admin_get_device(UserPoolId=pool, Username="u1", DeviceKey=key)["Device"]


class TestFaults:
    @pytest.mark.parametrize(
        ("code", "http_status"),
        [
            ("TooManyRequestsException", 400),
            ("InternalErrorException", 500),
            ("AccessDeniedException", 400),
            ("ExpiredTokenException", 400),
            ("NeverHeardOfException", 418),
        ],
    )
    def test_an_error_of_any_code_is_answered_and_nothing_done(
        self, world: World, code: str, http_status: int
    ) -> None:
        world.cognito.faults.add(Fault.error(code, http_status=http_status, message="because"))
        with pytest.raises(ClientError) as caught:
            world.unremember()
        assert caught.value.response["Error"] == {"Code": code, "Message": "because"}
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == http_status
        assert world.status == "remembered"
        assert [(entry.response_code, entry.applied) for entry in world.cognito.requests] == [(code, False)]

    def test_an_error_may_be_answered_although_the_operation_was_done(self, world: World) -> None:
        world.cognito.faults.add(Fault.error("InternalErrorException", http_status=500, applied=True))
        assert world.update_code == "InternalErrorException"
        assert world.status == "not_remembered"

    @pytest.mark.parametrize("http_status", [500, 503])
    def test_a_proxys_page_comes_with_no_code_and_no_request_id(self, world: World, http_status: int) -> None:
        world.cognito.faults.add(Fault.html(http_status))
        with pytest.raises(ClientError) as caught:
            world.unremember()
        assert caught.value.response["Error"]["Code"] == str(http_status)
        metadata = caught.value.response["ResponseMetadata"]
        assert metadata["HTTPStatusCode"] == http_status
        assert metadata["HTTPHeaders"]["content-type"] == "text/html"
        assert "RequestId" not in metadata
        assert world.cognito.requests[0].response_code == f"http_{http_status}"

    def test_a_reset_reaches_the_socket_as_a_reset(self, world: World) -> None:
        world.cognito.faults.add(Fault.reset())
        connection = http.client.HTTPConnection("127.0.0.1", world.cognito.port)
        target = f"AWSCognitoIdentityProviderService.{UPDATE}"
        connection.request("POST", "/", json.dumps(world.device), {"X-Amz-Target": target})
        with pytest.raises(ConnectionResetError):
            connection.getresponse()
        connection.close()

    def test_after_a_reset_nothing_was_done_and_the_client_goes_on(self, world: World) -> None:
        world.cognito.faults.add(Fault.reset(), times=1)
        with pytest.raises(ConnectionClosedError):
            world.unremember()
        assert world.status == "remembered"
        assert world.update_code == "ok"
        assert [entry.response_code for entry in world.cognito.requests] == ["reset", "ok"]

    def test_an_update_whose_answer_is_lost_was_done(self, world: World) -> None:
        world.cognito.faults.add(Fault.answer_lost())
        with pytest.raises(ConnectionClosedError):
            world.unremember()
        assert world.status == "not_remembered"
        assert [(entry.response_code, entry.applied) for entry in world.cognito.requests] == [("reset", True)]

    def test_a_hanging_request_runs_into_the_clients_timeout(self, world: World) -> None:
        world.cognito.faults.add(Fault.hang(60))
        with pytest.raises(ReadTimeoutError):
            world.unremember(connect(world.cognito.url, read_timeout=0.1))
        assert world.status == "remembered"
        assert world.cognito.requests[0].response_code == "pending"

    def test_a_hang_that_is_over_closes_the_connection(self, world: World) -> None:
        world.cognito.faults.add(Fault.hang(0.05))
        with pytest.raises(ConnectionClosedError):
            world.unremember()
        assert world.cognito.requests[0].response_code == "no_answer"

    def test_stopping_releases_what_hangs(self, world: World) -> None:
        world.cognito.faults.add(Fault.hang(60))
        with ThreadPoolExecutor(1) as threads:
            hanging = threads.submit(world.unremember)
            assert world.cognito.wait_for_requests(1)
            started = time.monotonic()
            world.cognito.stop()
            assert isinstance(hanging.exception(timeout=10), ConnectionClosedError)
        assert time.monotonic() - started < 5
        assert world.cognito.requests[0].response_code == "reset"

    def test_a_delay_keeps_the_answer_back(self, world: World) -> None:
        world.cognito.faults.add(Fault.delay(0.2))
        started = time.monotonic()
        world.unremember()
        assert time.monotonic() - started >= 0.2
        assert [(entry.response_code, entry.applied) for entry in world.cognito.requests] == [("ok", True)]

    def test_a_delayed_update_is_done_on_arrival(self, world: World) -> None:
        world.cognito.faults.add(Fault.delay(60))
        with pytest.raises(ReadTimeoutError):
            world.unremember(connect(world.cognito.url, read_timeout=0.1))
        assert world.status == "not_remembered"

    def test_a_late_update_is_done_after_the_client_gave_up(self, world: World) -> None:
        world.cognito.faults.add(Fault.delay(0.5, late=True))
        with pytest.raises(ReadTimeoutError):
            world.unremember(connect(world.cognito.url, read_timeout=0.1))
        assert world.status == "remembered"
        assert world.cognito.wait_for_requests(1, answered=True)
        assert world.status == "not_remembered"

    def test_delays_add_up_and_come_before_an_error(self, world: World) -> None:
        for _ in range(2):
            world.cognito.faults.add(Fault.delay(0.1))
        world.cognito.faults.add(Fault.error("InternalErrorException", http_status=500))
        started = time.monotonic()
        assert world.update_code == "InternalErrorException"
        assert time.monotonic() - started >= 0.2

    def test_the_first_of_two_errors_wins(self, world: World) -> None:
        world.cognito.faults.add(Fault.error("FirstException"), times=1)
        world.cognito.faults.add(Fault.error("SecondException"), times=1)
        assert [world.update_code for _ in range(3)] == ["FirstException", "SecondException", "ok"]

    def test_other_operations_fail_on_demand_too(self, world: World) -> None:
        world.cognito.faults.add(
            Fault.error("InternalErrorException", http_status=500), operation="AdminGetUser"
        )
        assert code_of(world.client.admin_get_user, **world.user) == "InternalErrorException"
        assert world.update_code == "ok"


class TestRules:
    FAULT = Fault.error("InjectedException")

    def codes(self, world: World, count: int) -> str:
        """One letter a request: `f`ault or `.`."""
        return "".join("." if world.update_code == "ok" else "f" for _ in range(count))

    def test_times_bounds_how_often(self, world: World) -> None:
        rule = world.cognito.faults.add(self.FAULT, times=3)
        assert self.codes(world, 5) == "fff.."
        assert (rule.hits, rule.seen) == (3, 5)

    def test_nth_picks_one_request(self, world: World) -> None:
        world.cognito.faults.add(self.FAULT, nth=3)
        assert self.codes(world, 5) == "..f.."

    def test_a_rule_can_be_removed_and_all_be_cleared(self, world: World) -> None:
        rule = world.cognito.faults.add(self.FAULT)
        assert self.codes(world, 1) == "f"
        world.cognito.faults.remove(rule)
        assert self.codes(world, 1) == "."
        world.cognito.faults.add(self.FAULT)
        world.cognito.faults.clear()
        assert self.codes(world, 1) == "."

    def test_names_pick_an_operation_a_user_or_a_device(self, world: World) -> None:
        names: dict[str, list[dict[str, Any]]] = {
            "f": [{"operation": UPDATE}, {"username": "u1"}, {"device_key": world.key}],
            ".": [{"operation": "AdminGetDevice"}, {"username": "u2"}, {"device_key": NO_DEVICE}],
        }
        for expected, rules in names.items():
            for conditions in rules:
                world.cognito.faults.clear()
                world.cognito.faults.add(self.FAULT, **conditions)
                assert self.codes(world, 1) == expected

    def test_a_probability_gives_the_same_faults_for_the_same_seed(self) -> None:
        runs = []
        for seed in (7, 7, 8):
            faults = Faults(seed)
            faults.add(self.FAULT, probability=0.5)
            runs.append([faults.judge(UPDATE, "u1", NO_DEVICE).fault is None for _ in range(100)])
        assert runs[0] == runs[1] != runs[2]
        assert 25 <= sum(runs[0]) <= 75


class TestQuota:
    def test_what_goes_beyond_is_throttled_and_not_done(self) -> None:
        with LocalCognito(quota={UPDATE: 3}) as cognito:
            world = World(cognito)
            codes = [world.update_code for _ in range(5)]
            assert codes == ["ok"] * 3 + ["TooManyRequestsException"] * 2
            assert [entry.applied for entry in cognito.requests] == [True] * 3 + [False] * 2
            assert message_of(world.unremember) == "Rate exceeded"
            assert code_of(world.client.admin_get_device, **world.device) == "ok"

    def test_it_can_be_changed_and_lifted_while_running(self, world: World) -> None:
        world.cognito.quota[UPDATE] = 0
        assert world.update_code == "TooManyRequestsException"
        del world.cognito.quota[UPDATE]
        assert world.update_code == "ok"

    def test_any_second_admits_no_more_than_the_quota_however_it_is_placed(self) -> None:
        quota, scope = Quota({UPDATE: 2}), Scope("1", "us-east-1")
        times = [0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
        assert [quota.admits(scope, UPDATE, at) for at in times] == [
            True,
            True,
            False,
            True,
            False,
            True,
            True,
        ]

    def test_each_account_and_region_has_its_own(self) -> None:
        quota = Quota({UPDATE: 1})
        for scope in (Scope("1", "us-east-1"), Scope("1", "eu-west-1"), Scope("2", "us-east-1")):
            assert quota.admits(scope, UPDATE, 0.0)
            assert not quota.admits(scope, UPDATE, 0.0)


class TestRequestLog:
    def test_it_says_who_asked_for_what_when_and_how_it_ended(self, world: World) -> None:
        before = time.monotonic()
        world.unremember()
        code_of(world.client.admin_list_devices, UserPoolId=world.pool, Username="nobody")
        after = time.monotonic()
        update, listing = world.cognito.requests
        assert before <= update.at <= listing.at <= after
        assert (update.operation, update.user_pool_id, update.username) == (UPDATE, world.pool, "u1")
        assert (update.device_key, update.status) == (world.key, "not_remembered")
        assert (update.response_code, update.applied) == ("ok", True)
        assert (listing.operation, listing.username) == ("AdminListDevices", "nobody")
        assert (listing.device_key, listing.status) == (None, None)
        assert (listing.response_code, listing.applied) == ("ResourceNotFoundException", False)

    def test_it_can_be_cleared(self, world: World) -> None:
        world.unremember()
        world.cognito.clear_requests()
        assert world.cognito.requests == []

    def test_waiting_for_a_request_that_never_comes_ends(self, cognito: LocalCognito) -> None:
        assert not cognito.wait_for_requests(1, timeout=0.01)

    def test_it_keeps_the_newest_only(self) -> None:
        with LocalCognito(log_size=2) as cognito:
            world = World(cognito)
            for _ in range(4):
                world.unremember()
            assert len(cognito.requests) == 2
            assert cognito.wait_for_requests(2, timeout=0, answered=True)


class TestServing:
    def test_boto3_keeps_its_connection(self, world: World) -> None:
        before = connections_made(world)
        for _ in range(20):
            world.unremember()
        assert connections_made(world) <= before + 1

    def test_a_connection_outlives_errors_and_other_operations(self, world: World) -> None:
        before = connections_made(world)
        code_of(world.client.admin_get_user, UserPoolId=world.pool, Username="nobody")
        code_of(world.client.admin_get_device, UserPoolId=world.pool, Username="nobody", DeviceKey=NO_DEVICE)
        world.client.admin_forget_device(**world.device)
        world.client.admin_list_devices(UserPoolId=world.pool, Username="u1")
        assert connections_made(world) <= before + 1

    def test_its_port_is_never_one_that_a_reconnecting_client_may_get(self, cognito: LocalCognito) -> None:
        assert cognito.port in PORTS

    def test_while_stopped_nobody_answers_and_then_all_is_as_before(self, world: World) -> None:
        world.unremember()
        port = world.cognito.port
        world.cognito.stop()
        with pytest.raises(EndpointConnectionError):
            world.unremember()
        world.cognito.start()
        assert world.cognito.port == port
        assert world.status == "not_remembered"
        assert world.update_code == "ok"

    def test_no_thread_is_left_after_stop(self) -> None:
        before = set(threading.enumerate())
        with LocalCognito() as cognito:
            World(cognito).unremember()
            serving = set(threading.enumerate()) - before
            assert serving
        for thread in serving:
            thread.join(timeout=5)
            assert not thread.is_alive()

    def test_a_request_that_is_not_signed_is_served_too(self, world: World) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", world.cognito.port)
        for _ in range(2):  # on one connection
            connection.request("GET", f"/{world.pool}/.well-known/jwks.json")
            assert json.load(connection.getresponse())["keys"]
        connection.close()

    def test_a_taken_port_is_an_error(self, cognito: LocalCognito) -> None:
        with pytest.raises(OSError, match="in use"):
            LocalCognito(cognito.port).start()

    def test_a_caller_that_leaves_in_the_middle_harms_nobody(self, world: World) -> None:
        with socket.create_connection(("127.0.0.1", world.cognito.port)) as leaving:
            leaving.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert world.update_code == "ok"

    def test_the_environment_is_all_that_boto3_needs(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in world.cognito.environment().items():
            monkeypatch.setenv(name, value)
        world.unremember(boto3.Session().client("cognito-idp"))
        assert world.status == "not_remembered"
        identity = boto3.Session().client("sts").get_caller_identity()
        assert identity["Account"] == "123456789012"


class TestCommandLine:
    def run(self, *options: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "device_status_worker.local", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        variables = {}
        while "AWS_EC2_METADATA_DISABLED" not in variables:
            line = process.stdout.readline()
            assert line.startswith("export "), "it has ended"
            name, _, value = line.removeprefix("export ").strip().partition("=")
            variables[name] = value
        return process, variables

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_serves_until_a_signal_and_leaves_in_good_order(self, number: signal.Signals) -> None:
        process, variables = self.run("--pools", "0")
        address = variables["DEVICE_STATUS_BROKER_URL"].removeprefix("redis://").removesuffix("/0")
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as valkey:
            valkey.sendall(b"PING\r\n")
            assert valkey.recv(64) == b"+PONG\r\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))

    def test_it_seeds_pools_users_and_devices(self) -> None:
        process, variables = self.run(
            "--pools", "2", "--users", "3", "--devices", "4", "--region", "eu-west-1"
        )
        assert process.stderr is not None
        pools = [process.stderr.readline().removeprefix("pool ").partition(":")[0] for _ in range(2)]
        client = connect(variables["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER"], variables["AWS_REGION"])
        for pool in pools:
            for user in ("user-0", "user-1", "user-2"):
                assert len(client.admin_list_devices(UserPoolId=pool, Username=user)["Devices"]) == 4
            assert code_of(client.admin_list_devices, UserPoolId=pool, Username="user-3") != "ok"
        process.terminate()
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said

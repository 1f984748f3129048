"""Promises about roles: a pool of another account is reached with that account's credentials, no other is."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest

from device_status import Lane, Settings, State, load_settings
from device_status.outcomes import Claimed, Done, Waiting
from device_status.targets import Target
from device_status_worker import aws_http, roles
from device_status_worker.aws_http import AwsHttp
from device_status_worker.cognito import Cognito
from device_status_worker.failures import Action, Failure
from device_status_worker.gate import Slot
from device_status_worker.handle import Worker, handle
from device_status_worker.local import LocalCognito
from support import device, make_command
from support.servers import SilentServer

ROLE = "arn:aws:iam::222222222222:role/device-status"


@pytest.fixture
def pool(cognito: LocalCognito) -> str:
    """Of another account, with the user ada."""
    del cognito
    client = of_role().client("cognito-idp", "eu-west-1")
    pool: str = client.create_user_pool(
        PoolName="theirs",
        DeviceConfiguration={"DeviceOnlyRememberedOnUserPrompt": True, "ChallengeRequiredOnNewDevice": False},
    )["UserPool"]["Id"]
    client.admin_create_user(UserPoolId=pool, Username="ada")
    return pool


@pytest.fixture
def settings(redis_url: str) -> Settings:
    targets = json.dumps({"eu-west-1_*": {"role_arn": ROLE}})
    return load_settings(broker_url=redis_url, targets=targets, update_quota=1000)


def of_role() -> Any:
    keys = boto3.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
    return boto3.session.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def test_a_pool_of_another_account_is_called_with_its_role(worker: Worker, pool: str) -> None:
    command = make_command(user_pool_id=pool, username="ada", device_key=device(1))
    theirs = replace(worker, cognito=Cognito(connections=1))
    assert handle(command, Lane.ROUTINE, theirs) == Done(State.DEAD_LETTERED, "ResourceNotFoundException")
    record = worker.ledger.lookup(command.command_id)
    assert record is not None
    # With the workers' own credentials it would be the pool that does not exist.
    assert record.error_message is not None
    assert "evice" in record.error_message


def test_one_of_the_own_account_is_not(worker: Worker, cognito: LocalCognito) -> None:
    pool = cognito.create_pool("us-east-1")
    cognito.add_user(pool, "ada")
    command = make_command(
        user_pool_id=pool, username="ada", device_key=cognito.add_device(pool, "ada"), status="not_remembered"
    )
    assert handle(command, Lane.ROUTINE, worker) == Done(State.SUCCEEDED)


def test_without_credentials_to_take_a_role_on_its_target_alone_is_paused(
    worker: Worker, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    command = make_command(user_pool_id=pool, username="ada", device_key=device(1))
    theirs = replace(worker, cognito=Cognito(connections=1))
    waiting = handle(command, Lane.ROUTINE, theirs)
    assert isinstance(waiting, Waiting)
    assert waiting.error_code == "NoCredentialsError"
    target = worker.settings.target(pool)
    assert not isinstance(worker.gates.update(target).wait_for_slot(Lane.ROUTINE), Slot)
    own = worker.settings.target("us-east-1_Ab12")
    assert isinstance(worker.gates.update(own).wait_for_slot(Lane.ROUTINE), Slot)


def test_whatever_sts_refuses_is_no_fault_of_the_command(
    pool: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    answer = call(Cognito(connections=1), pool, settings)
    assert isinstance(answer, Failure)
    assert (answer.action, answer.in_doubt) == (Action.PAUSE, False)


def test_a_sts_that_hangs_is_waited_for_once_and_not_by_each_thread_in_turn(
    pool: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SilentServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url.replace("redis://:hunter2@", "http://"))
        monkeypatch.setattr(aws_http, "READ_TIMEOUT", 0.5)
        cognito, threads = Cognito(connections=1), 6
        with ThreadPoolExecutor(threads) as pool_of_threads:
            answers = [pool_of_threads.submit(call, cognito, pool, settings) for _ in range(threads)]
        assert {answer.result().code for answer in answers} == {"CredentialRetrievalError"}
        assert len(server._accepted) == 1


@pytest.mark.parametrize(
    ("partition", "own_region", "asked"),
    [("aws", "", "us-east-1"), ("aws-cn", "", "cn-north-1"), ("aws", "eu-central-1", "eu-central-1")],
)
def test_a_made_up_region_does_not_decide_where_the_role_is_taken_on(
    partition: str, own_region: str, asked: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    if own_region:
        monkeypatch.setenv("AWS_DEFAULT_REGION", own_region)
    nowhere = Target("2", "zz-nowhere-1", ROLE.replace("aws", partition), settings.target("x_1").quotas)
    session = roles.session_for(nowhere, AwsHttp(connections=1))
    (role, *_) = session._session.get_component("credential_provider").providers
    assert role._create_client("sts").meta.region_name == asked


def call(cognito: Cognito, pool: str, settings: Settings) -> Any:
    command = make_command(user_pool_id=pool, username="ada", device_key=device(1))
    now = time.monotonic()
    return cognito.update_device_status(
        Claimed(command, "me", 0, 0.0, now + 60),
        settings.target(pool),
        Slot(now + 60, degraded=False, name=""),
    )

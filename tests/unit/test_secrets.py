"""No password, key or token is shown: not by `repr`, in errors and their causes, or in a process list."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from device_status import (
    DeadLetter,
    DeadLetters,
    DeviceStatusError,
    Incidents,
    Producer,
    Record,
    Settings,
    SettingsError,
    load_settings,
)
from device_status.health import server_warnings
from device_status.ledger import Ledger
from device_status.outcomes import Repair
from device_status.publisher import Publisher
from device_status.scripts import connect
from device_status.urls import ServerUrl
from device_status_worker.cognito import Page
from device_status_worker.failures import Failure
from device_status_worker.listing_devices import Listing
from device_status_worker.listing_requests import GivenUp
from device_status_worker.local import EmbeddedValkey, LocalCognito
from support import USERNAME, make_command, wire_object
from support.servers import HOST, SilentServer, free_port, start_valkey
from support.terminal import run
from support.waiting import eventually
from support.workers import WorkerProcess

PASSWORD = "hunter2/@:#%é"
SHAPES = (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), "hunter2")
"""As it is, as it stands in a URL, and the part that no escape changes."""
IN_URL = quote(PASSWORD, safe="")


def shown_secrets(text: str) -> list[str]:
    return [shape for shape in SHAPES if shape in text]


@pytest.fixture
def settings() -> Settings:
    return load_settings(
        broker_url=f"amqp://user:{IN_URL}@{HOST}:{free_port()}//",
        ledger_url=f"redis://user:{IN_URL}@{HOST}:{free_port()}/0",
        incident_webhook=f"https://user:{IN_URL}@hooks.example/{IN_URL}?token={IN_URL}",
        incident_webhook_secret=PASSWORD,
    )


class TestRepr:
    @pytest.mark.parametrize("make", [Producer, DeadLetters, Incidents])
    def test_of_what_a_service_holds(self, make: Callable[[Settings], Any], settings: Settings) -> None:
        made = make(settings)
        for each in (made, settings, *vars(made).values()):
            assert shown_secrets(f"{each!r} {each}") == []

    def test_of_the_connections(self, settings: Settings) -> None:
        ledger = Ledger(settings.ledger)
        publisher = Publisher(settings.broker_url)
        parts = [ledger.redis, ledger.redis.connection_pool, publisher._connections()]
        for each in (ledger, publisher, *parts, *vars(publisher).values()):
            if each != settings.broker_url:
                assert shown_secrets(f"{each!r} {each}") == []

    def test_of_sentinels(self) -> None:
        url = ServerUrl.parse(f"sentinel://user:{IN_URL}@one:1;sentinel://two:2/0")
        assert url.password == PASSWORD
        assert shown_secrets(repr(url)) == []


class TestPersonalData:
    """Of what may stand in a debugger's or an error tracker's list of variables."""

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            (DeadLetter, ("username", "error_message", "raw")),
            (Record, ("error_message",)),
            (Repair, ("command",)),
            (Page, ("items",)),
            (Failure, ("message",)),
            (GivenUp, ("message",)),
            (Listing, ("username",)),
        ],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_is_not_in_repr(self, kind: Any, fields: tuple[str, ...]) -> None:
        values = {each.name: USERNAME if each.name in fields else None for each in dataclasses.fields(kind)}
        assert USERNAME not in repr(kind(**values))

    def test_is_not_in_repr_of_a_command(self) -> None:
        assert USERNAME not in f"{make_command()!r} {make_command()}"


def urls(port: int) -> dict[str, str]:
    there = f"{HOST}:{port}"
    return {
        "redis": f"redis://:{IN_URL}@{there}/0",
        "redis, with a user": f"redis://user:{IN_URL}@{there}/0",
        "rediss": f"rediss://:{IN_URL}@{there}/0",
        "a host that does not exist": f"redis://:{IN_URL}@nowhere.invalid:{port}/0",
        "sentinel": f"sentinel://:{IN_URL}@{there};sentinel://{there}/0?master_name=x",
        "amqp": f"amqp://user:{IN_URL}@{there}//",
        "amqps": f"amqps://user:{IN_URL}@{there}//",
        "several": f"amqp://user:{IN_URL}@{there}//;amqp://user:{IN_URL}@{there}//",
    }


class TestErrors:
    """With all that caused them, as a log shows them."""

    @staticmethod
    def told(error: BaseException) -> str:
        return "".join(traceback.format_exception(error)) + repr(error)

    @pytest.mark.parametrize("url", urls(free_port()).values(), ids=urls(0))
    def test_of_a_server_that_is_away(self, url: str) -> None:
        if not url.startswith("amqp"):
            with pytest.raises(DeviceStatusError) as caught:
                Ledger(url).lookup("x")
            assert shown_secrets(self.told(caught.value)) == []
        with pytest.raises(DeviceStatusError) as caught:
            Publisher(url).ping()
        assert shown_secrets(self.told(caught.value)) == []

    @pytest.mark.parametrize("name", ["redis", "redis, with a user"])
    def test_of_a_server_that_knows_another_password(self, name: str) -> None:
        with start_valkey() as valkey:
            with closing(redis.Redis.from_url(valkey.url)) as client:
                client.config_set("requirepass", "another")
            url = urls(int(valkey.url.rpartition(":")[2].removesuffix("/0")))[name]
            with pytest.raises(DeviceStatusError) as caught:
                Ledger(url).lookup("x")
            assert shown_secrets(self.told(caught.value)) == []
            with pytest.raises(redis.RedisError) as other:
                server_warnings(connect(url), name="ledger")
            assert shown_secrets(self.told(other.value)) == []

    def test_of_a_server_that_hangs(self) -> None:
        with SilentServer() as server, pytest.raises(DeviceStatusError) as caught:
            Ledger(server.url).lookup("x")
        assert "hunter2" not in self.told(caught.value)

    @pytest.mark.parametrize("variable", ["broker_url", "ledger_url", "incident_webhook"])
    @given(
        text=st.sampled_from(
            [
                "redis://:{}@host:1/0",
                "redis://:{}@host:port/0",
                "redis://:{}@[host/0",
                "redis://user:{}@host:1/x",
                "redis://host:1/0?password={}&colour=red",
                "redis://host:1/0#{}",
                "redis:{}@host",
                "{}@redis://host",
                ":{}@host:1",
                "{}",
                "{}://host",
                "sentinel://:{}@one;two",
                "sentinel://:{}@one:1;sentinel://two:2/x",
                "sentinel://one/0?password={}",
                "amqp://u:{}@h:x//",
                "ftp://u:{}@h",
                "https://u:{}@h:x/",
            ]
        ),
        password=st.text(st.sampled_from("/?#[]@:;%&= é\n"), max_size=3),
    )
    def test_of_a_setting_that_can_not_be_used(self, variable: str, text: str, password: str) -> None:
        url = text.format(f"hunter2{password}hunter2")
        refused = None
        try:
            load_settings(**{"broker_url": "redis://host/0", variable: url})
        except SettingsError as error:
            refused = error
        assert refused is None or "hunter2" not in self.told(refused)


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """A server that asks for the password; its URL."""
    with start_valkey() as valkey:
        with closing(redis.Redis.from_url(valkey.url)) as client:
            client.config_set("requirepass", PASSWORD)
        yield valkey.url.replace("redis://", f"redis://:{IN_URL}@")


def processes_of(parent: int) -> list[int]:
    """The process ids of all its descendants."""
    tasks = Path(f"/proc/{parent}/task").iterdir()
    children = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    return children + [each for child in children for each in processes_of(child)]


def test_neither_a_workers_log_nor_a_list_of_processes_shows_any(locked: str, tmp_path: Path) -> None:
    with LocalCognito() as cognito, EmbeddedValkey():
        secrets = {
            "DEVICE_STATUS_BROKER_URL": locked,
            "DEVICE_STATUS_LEDGER_URL": locked,
            "DEVICE_STATUS_INCIDENT_WEBHOOK": f"http://user:{IN_URL}@{HOST}:{free_port()}/{IN_URL}?token={IN_URL}",
            "DEVICE_STATUS_INCIDENT_WEBHOOK_SECRET": PASSWORD,
        }
        aws = {
            "AWS_ACCESS_KEY_ID": "AKIAHUNTER2",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_SESSION_TOKEN": PASSWORD,
        }
        environment = dict(os.environ) | cognito.environment() | secrets | aws
        worker = WorkerProcess(environment, tmp_path / "worker.log", level="DEBUG").start()
        try:
            worker.wait_until_ready()
            settings = load_settings(
                **{name.removeprefix("DEVICE_STATUS_").lower(): value for name, value in secrets.items()}
            )
            command_id = Producer(settings).enqueue(wire_object())
            eventually(
                lambda: (found := Producer(settings).lookup(command_id)) and found.outcome, "it is done"
            )
            incidents = Incidents(settings)
            incidents.open("INC-1", user_pool_id="us-east-1_X", users=["ada"])
            eventually(lambda: "did not take the notice" in worker.output, "the webhook was tried")
            for process in processes_of(os.getpid()):
                command_line = Path(f"/proc/{process}/cmdline").read_bytes().decode()
                assert shown_secrets(command_line) == []
                assert not any(secret in command_line for secret in ("AKIAHUNTER2", "redis://", "token="))
            found = run(environment, "doctor")
            assert shown_secrets(found.stdout + found.stderr) == []
        finally:
            worker.terminate()
    assert shown_secrets(worker.output) == []

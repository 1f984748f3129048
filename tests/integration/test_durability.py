"""Accepted means kept, if `DEVICE_STATUS_DURABILITY` asks for it: through a crash, or through a failover."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import redis
from typer.testing import CliRunner

from device_status import (
    DeadLetters,
    IncidentError,
    Incidents,
    Lane,
    LedgerUnavailableError,
    Producer,
    Settings,
    State,
    load_settings,
    parse_command,
)
from device_status.cli import app
from device_status.ledger import Ledger
from device_status.outcomes import Claimed
from device_status_worker.intake import Intake
from device_status_worker.local import EmbeddedValkey, Fault, LocalCognito
from support.commands import POOL, device, wire_object
from support.replication import Replicated, enqueue_each, enqueue_through, lost
from support.sync_thread import busy_disk
from support.terminal import run
from support.waiting import eventually
from support.workers import WorkerProcess

IN_TIME = 10.0
"""Seconds within which a call that can't be confirmed must say so."""


def commands(count: int, name: str) -> list[dict[str, Any]]:
    """For devices of their own."""
    first = crc32(name.encode()) << 12
    return [wire_object(device_key=device(first + i), command_id=f"{name}-{i}") for i in range(count)]


def test_what_fsync_accepted_survives_a_crash_while_the_disk_is_busy(tmp_path: Path) -> None:
    accepted, missing = crash_while_the_disk_is_busy("fsync", tmp_path)
    assert accepted
    assert missing == []


def test_what_was_accepted_in_memory_does_not(tmp_path: Path) -> None:
    accepted, missing = crash_while_the_disk_is_busy("memory", tmp_path)
    assert accepted
    assert missing


def crash_while_the_disk_is_busy(durability: str, folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Which commands were accepted, and which of them are lost."""
    with EmbeddedValkey(data_dir=folder, append_only=True) as server:
        producer = Producer(load_settings(broker_url=server.url, durability=durability))
        with busy_disk(server):
            answers = enqueue_each(producer, commands(20, "crash"))
        assert all(isinstance(error, LedgerUnavailableError) for error in answers.errors)
        server.start()
        return answers.accepted, lost(producer, answers.accepted)


@pytest.fixture
def servers() -> Iterator[Replicated]:
    with Replicated() as servers:
        yield servers


def test_what_a_replica_confirmed_survives_a_failover_and_the_rest_may_be_repeated(
    servers: Replicated,
) -> None:
    producer = Producer(load_settings(broker_url=servers.url, durability="replica"))
    every = commands(30, "failover")
    before = enqueue_each(producer, every[:10])
    assert len(before.accepted) == 10
    with servers.lag():
        lagging = enqueue_each(producer, every[10:])
        assert lagging.accepted == []
        assert all(isinstance(error, LedgerUnavailableError) for error in lagging.errors)
        assert "has no second effect" in str(lagging.errors[0])
        assert lagging.longest < IN_TIME
        servers.fail_over()
    assert lost(producer, before.accepted) == []
    # So what was refused was in danger.
    assert lost(producer, lagging.refused)
    repeated = enqueue_each(producer, lagging.refused)
    assert repeated.refused == []
    assert lost(producer, every) == []
    with closing(redis.Redis(port=servers.primary.port)) as client:
        assert client.zcard("device-status:queued:routine") == len(every)


def test_what_was_accepted_in_memory_is_lost_in_a_failover(servers: Replicated) -> None:
    producer = Producer(load_settings(broker_url=servers.url))
    with servers.lag():
        answers = enqueue_each(producer, commands(10, "failover"))
        servers.fail_over()
    assert len(answers.accepted) == 10
    assert lost(producer, answers.accepted)


def test_what_is_accepted_while_a_failover_happens_is_there_after_it(servers: Replicated) -> None:
    producer = Producer(load_settings(broker_url=servers.url, durability="replica"))
    answers = enqueue_through(servers.fail_over, producer, commands(200, "during"))
    assert len(answers.accepted) == 200
    assert lost(producer, answers.accepted) == []


def settings_of(url: str, durability: str) -> Settings:
    return load_settings(broker_url=url, durability=durability)


Call = Callable[[Settings], object]
Prepared = Callable[[Settings], Call]
"""Does what comes before the call, with the settings of a ledger that waits for nothing; returns the call."""


def _enqueue(count: int, name: str, until: Callable[[Ledger, Any], object] | None = None) -> Prepared:
    def prepare(before: Settings) -> Call:
        if until:
            for fields in commands(count, name):
                Producer(before).enqueue(fields)
                until(Ledger.of(before), parse_command(fields))
        return lambda settings: Producer(settings).enqueue_many(commands(count, name))

    return prepare


def _claim(ledger: Ledger, command: Any) -> Claimed:
    claim = ledger.claim(command, Lane.ROUTINE)
    assert isinstance(claim, Claimed)
    return claim


def _succeed(ledger: Ledger, command: Any) -> None:
    ledger.succeed(_claim(ledger, command), "request-1")


def _bury(ledger: Ledger, command: Any) -> None:
    ledger.dead_letter(_claim(ledger, command), "UserNotFoundException", "no such user")


def _claims(name: str, until: Callable[[Ledger, Any], object] | None = None) -> Prepared:
    def prepare(before: Settings) -> Call:
        command = parse_command(commands(1, name)[0])
        if until:
            Ledger.of(before).enter([command], Lane.ROUTINE)
            until(Ledger.of(before), command)
        return lambda settings: Ledger.of(settings).claim(command, Lane.ROUTINE)

    return prepare


def _settles(name: str, how: Callable[[Ledger, Claimed], object]) -> Prepared:
    def prepare(before: Settings) -> Call:
        claim = _claim(Ledger.of(before), parse_command(commands(1, name)[0]))
        how(Ledger.of(before), claim)  # So that the call finds nothing to change.
        return lambda settings: how(Ledger.of(settings), claim)

    return prepare


def _incident(name: str, call: Callable[[Incidents, str], object], *, is_over: bool = False) -> Prepared:
    def prepare(before: Settings) -> Call:
        Incidents(before).open(name, user_pool_id=POOL, users=[] if is_over else ["ada"])
        return lambda settings: call(Incidents(settings), name)

    return prepare


def _cancel(incidents: Incidents, name: str) -> object:
    try:
        return incidents.cancel(name)
    except IncidentError:
        return "it was cancelled"


def _redrive(before: Settings) -> Call:
    _bury(Ledger.of(before), parse_command(commands(1, "redriven")[0]))

    def redrive(settings: Settings) -> object:
        try:
            return DeadLetters(settings).redrive("redriven-0")
        except KeyError:
            return "it has been redriven"

    return redrive


CALLS: dict[str, Prepared] = {
    "enqueue what is new": _enqueue(1, "new"),
    "enqueue what is queued": _enqueue(2, "queued", lambda *_: None),
    "enqueue what is claimed": _enqueue(2, "claimed", _claim),
    "enqueue what has its outcome": _enqueue(1, "done", _succeed),
    "enqueue many": _enqueue(20, "many"),
    "claim what is new": _claims("claim-new"),
    "claim what is claimed by another": _claims("claim-busy", _claim),
    "claim what has its outcome": _claims("claim-done", _succeed),
    "settle once more": _settles("settle", lambda ledger, claim: ledger.succeed(claim, "request-1")),
    "retry once more": _settles("retry", lambda ledger, claim: ledger.retry(claim, 60, "Throttled", "")),
    "dead-letter once more": _settles("dead", lambda ledger, claim: ledger.dead_letter(claim, "No", "no")),
    "a late request once more": _settles("late", lambda ledger, claim: ledger.repair(claim)),
    "bury a message once more": lambda before: (
        lambda settings: Intake(Ledger.of(settings)).bury(
            "MalformedMessage", "is not JSON", b"{", "device-status.bulk", "place"
        )
    ),
    "open an incident": _incident(
        "OPEN", lambda each, name: each.open(name, user_pool_id=POOL, users=["ada", "grace"])
    ),
    "open an incident of devices": _incident(
        "DEVICES", lambda each, name: each.open(name, user_pool_id=POOL, devices=[("ada", device(1))])
    ),
    "count an incident's devices": _incident(
        "COUNT", lambda each, _: each.count(user_pool_id=POOL, users=["ada"])
    ),
    "pause an incident": _incident("PAUSE", lambda each, name: each.pause(name)),
    "resume an incident": _incident("RESUME", lambda each, name: each.resume(name)),
    "cancel an incident": _incident("CANCEL", _cancel),
    "verify an incident": _incident("VERIFY", lambda each, name: each.verify(name), is_over=True),
    "purge nothing": lambda before: lambda settings: DeadLetters(settings).purge(older_than=timedelta(365)),
    "redrive": _redrive,
}
"""Whatever says that something is done. Most of them find that there is nothing left to change, which is what
a call finds that is repeated because it was not confirmed."""


@pytest.fixture(scope="module")
def heard() -> Iterator[dict[str, list[Any]]]:
    """What each call raised or returned: while the replica lags, once more, and when it has caught up."""

    def outcome(call: Call, settings: Settings) -> tuple[object, float]:
        began_at = time.monotonic()
        try:
            result: object = call(settings)
        except LedgerUnavailableError as error:
            result = error
        return result, time.monotonic() - began_at

    with Replicated() as servers, ThreadPoolExecutor(len(CALLS)) as pool:
        before, waits = settings_of(servers.url, "memory"), settings_of(servers.url, "replica")
        prepared = {name: prepare(before) for name, prepare in CALLS.items()}
        found: dict[str, list[Any]] = {name: [] for name in CALLS}

        def all_at_once() -> None:
            futures: dict[str, Future[Any]] = {
                name: pool.submit(outcome, call, waits) for name, call in prepared.items()
            }
            for name, future in futures.items():
                found[name].append(future.result())

        servers.wait_for_replica()
        with servers.lag():
            all_at_once()
            all_at_once()
        servers.wait_for_replica()
        all_at_once()
        yield found


@pytest.mark.parametrize("name", CALLS)
class TestWhateverSaysDone:
    def test_it_is_not_said_before_a_replica_has_it_and_neither_at_the_repeat(
        self, name: str, heard: dict[str, list[Any]]
    ) -> None:
        for result, seconds in heard[name][:2]:
            assert isinstance(result, LedgerUnavailableError), result
            assert "fewer than 1 replica confirmed" in str(result)
            assert seconds < IN_TIME

    def test_it_is_said_when_the_replica_has_caught_up(self, name: str, heard: dict[str, list[Any]]) -> None:
        result, seconds = heard[name][2]
        assert not isinstance(result, Exception)
        assert seconds < IN_TIME


def calls_of(server: EmbeddedValkey, work: Callable[[], object]) -> dict[str, int]:
    """How often the server was asked what, by whatever `work` does."""
    with closing(redis.Redis(port=server.port, decode_responses=True)) as client:
        client.config_resetstat()
        work()
        stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


class TestCost:
    def test_in_memory_no_wait_is_sent_and_otherwise_one_a_batch(self, servers: Replicated) -> None:
        asked = {}
        for level in ("memory", "replica"):
            producer = Producer(settings_of(servers.url, level))
            producer.enqueue_many(commands(1, f"warm-{level}"))
            asked[level] = calls_of(
                servers.primary,
                lambda p=producer, n=level: p.enqueue_many(commands(2500, n)),  # type: ignore[misc]
            )
        assert "wait" not in asked["memory"]
        assert asked["replica"]["wait"] == 3
        assert asked["memory"]["evalsha"] == asked["replica"]["evalsha"] == 3

    def test_in_memory_no_marker_is_written(self, servers: Replicated) -> None:
        Producer(settings_of(servers.url, "memory")).enqueue(commands(1, "a")[0])
        with closing(redis.Redis(port=servers.primary.port)) as client:
            assert not client.exists("device-status:marker")
            Producer(settings_of(servers.url, "replica")).enqueue(commands(1, "b")[0])
            assert client.exists("device-status:marker")


@dataclass
class Scene:
    """Servers, a Cognito and a worker that waits for a replica."""

    servers: Replicated
    cognito: LocalCognito
    worker: WorkerProcess
    pool: str

    def command(self, name: str) -> dict[str, Any]:
        key = self.cognito.add_device(self.pool, "ada")
        return wire_object(user_pool_id=self.pool, username="ada", device_key=key, command_id=name)

    def requests(self) -> int:
        return len([each for each in self.cognito.requests if each.user_pool_id == self.pool])

    def unacknowledged(self) -> int:
        with closing(redis.Redis(port=self.servers.primary.port)) as client:
            return int(client.hlen("unacked"))

    def producer(self, durability: str) -> Producer:
        return Producer(settings_of(self.servers.url, durability))


@pytest.fixture
def scene(servers: Replicated, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as exits:
        cognito = exits.enter_context(LocalCognito())
        pool = cognito.create_pool()
        cognito.add_user(pool, "ada")
        environment = (
            os.environ
            | cognito.environment()
            | {"DEVICE_STATUS_BROKER_URL": servers.url, "DEVICE_STATUS_DURABILITY": "replica"}
        )
        worker = WorkerProcess(environment, tmp_path / "worker.log")
        exits.callback(worker.kill)
        worker.start().wait_until_ready()
        yield Scene(servers, cognito, worker, pool)


class TestAWorker:
    def test_it_calls_aws_only_under_a_claim_that_a_replica_has(self, scene: Scene) -> None:
        with scene.servers.lag():
            scene.producer("memory").enqueue(scene.command("claimed"))
            eventually(
                lambda: "waiting for the ledger" in scene.worker.output, "it says what it waits for", 20
            )
            assert "fewer than 1 replica confirmed the write" in scene.worker.output
            eventually(lambda: scene.unacknowledged() == 1, "it has the message", 5)
            assert scene.requests() == 0
        assert_succeeds(scene, "claimed")
        assert scene.requests() == 1

    def test_it_acknowledges_only_what_a_replica_knows_to_be_settled(self, scene: Scene) -> None:
        command = scene.command("settled")
        scene.cognito.faults.add(Fault.delay(2), operation="AdminUpdateDeviceStatus", probability=1)
        scene.producer("replica").enqueue(command)
        eventually(lambda: scene.requests() == 1, "the request is under way", 10)
        with scene.servers.lag():
            eventually(lambda: "waiting for the ledger" in scene.worker.output, "it waits", 20)
            assert scene.unacknowledged() == 1
        assert_succeeds(scene, "settled")
        eventually(lambda: scene.unacknowledged() == 0, "it is acknowledged", 10)
        assert scene.requests() == 1

    def test_sigterm_ends_one_that_waits_for_a_replica(self, scene: Scene) -> None:
        with scene.servers.lag():
            scene.producer("memory").enqueue(scene.command("waiting"))
            eventually(lambda: "waiting for the ledger" in scene.worker.output, "it waits", 20)
            began_at = time.monotonic()
            assert scene.worker.terminate() == 0
            assert time.monotonic() - began_at < 30

    @pytest.mark.timeout(240)
    def test_through_a_failover_each_accepted_command_gets_one_outcome(self, scene: Scene) -> None:
        producer = scene.producer("replica")
        every = [scene.command(f"each-{number}") for number in range(60)]
        answers = enqueue_through(scene.servers.fail_over, producer, every)
        assert len(answers.accepted) == len(every)

        def is_done(command: dict[str, Any]) -> bool:
            record = producer.lookup(command["command_id"])
            return record is not None and record.outcome is State.SUCCEEDED

        eventually(lambda: all(map(is_done, every)), "each has its outcome", 180)
        for command in every:
            status = scene.cognito.device_status(scene.pool, "ada", command["device_key"])
            assert status == "not_remembered"
        with closing(redis.Redis(port=scene.servers.primary.port)) as client:
            assert client.zcard("device-status:dead") == 0
        assert scene.worker.terminate() == 0


def assert_succeeds(scene: Scene, command_id: str) -> None:
    producer = scene.producer("memory")

    def outcome() -> State | None:
        record = producer.lookup(command_id)
        return record.outcome if record else None

    assert eventually(outcome, f"{command_id} has its outcome", 30) is State.SUCCEEDED


CAN_NOT_SYNC = {
    "the append-only file is off": ("", "set appendonly yes"),
    "appendfsync is everysec": ("appendfsync everysec", "set appendfsync always"),
    "appendfsync is no": ("appendfsync no", "set appendfsync always"),
    # As in Redis 7.0 and older.
    "unknown command 'WAITAOF'": (
        'appendfsync always\nrename-command WAITAOF ""',
        "needs Redis 7.2 or later",
    ),
}
"""What a server must not be for `fsync`: its configuration (none: without the file), and what to do."""


@pytest.mark.parametrize("problem", CAN_NOT_SYNC)
class TestAServerThatCanNotSync:
    @pytest.fixture
    def server(self, problem: str, tmp_path: Path) -> Iterator[EmbeddedValkey]:
        configuration, _ = CAN_NOT_SYNC[problem]
        (tmp_path / "more.conf").write_text(configuration)
        config = {"include": str(tmp_path / "more.conf")}
        with EmbeddedValkey(
            data_dir=tmp_path / "data", append_only=bool(configuration), config=config
        ) as server:
            yield server

    def test_a_worker_ends_at_its_start_and_says_what_to_change(
        self, problem: str, server: EmbeddedValkey, tmp_path: Path
    ) -> None:
        code, log = start_worker(server.url, "fsync", tmp_path / "worker.log")
        assert code == 3
        (line,) = [line for line in log.splitlines() if "the worker ends" in line]
        assert problem in line
        assert CAN_NOT_SYNC[problem][1] in line
        assert "DEVICE_STATUS_DURABILITY" in line

    def test_doctor_says_what_to_change(
        self, problem: str, server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (finding,) = findings_of(server.url, "fsync", monkeypatch, level="error")
        assert problem in finding
        assert CAN_NOT_SYNC[problem][1] in finding
        assert "DEVICE_STATUS_DURABILITY" in finding


def test_the_command_worker_ends_with_the_same_exit_code() -> None:
    with EmbeddedValkey() as server:
        environment = {"DEVICE_STATUS_BROKER_URL": server.url, "DEVICE_STATUS_DURABILITY": "fsync"}
        done = run(os.environ | environment, "worker")
    assert done.returncode == 3
    assert "set appendonly yes" in done.stderr


def test_a_producer_says_what_the_server_lacks() -> None:
    with (
        EmbeddedValkey() as server,
        pytest.raises(LedgerUnavailableError, match="fsync needs appendonly yes") as caught,
    ):
        Producer(settings_of(server.url, "fsync")).enqueue(commands(1, "lacking")[0])
    assert "\n" not in str(caught.value)


def start_worker(url: str, durability: str, log: Path) -> tuple[int, str]:
    environment = os.environ | {"DEVICE_STATUS_BROKER_URL": url, "DEVICE_STATUS_DURABILITY": durability}
    worker = WorkerProcess(environment, log).start()
    try:
        eventually(lambda: "the worker ends" in worker.output, "it says why it ends")
        return worker.wait(20), worker.output
    finally:
        worker.kill()


def findings_of(url: str, durability: str, monkeypatch: pytest.MonkeyPatch, *, level: str) -> list[str]:
    """What doctor finds about the ledger at this level."""
    monkeypatch.setenv("DEVICE_STATUS_BROKER_URL", url)
    monkeypatch.setenv("DEVICE_STATUS_DURABILITY", durability)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    findings = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    return [each["finding"] for each in findings if each["level"] == level and each["check"] == "ledger"]


class TestDoctor:
    @pytest.mark.parametrize("durability", ["fsync", "replica"])
    def test_it_says_that_writes_are_confirmed(
        self, durability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ExitStack() as exits:
            if durability == "fsync":
                always = {"appendfsync": "always"}
                server = exits.enter_context(
                    EmbeddedValkey(data_dir=tmp_path, append_only=True, config=always)
                )
                url = server.url
            else:
                url = exits.enter_context(Replicated()).url
            assert findings_of(url, durability, monkeypatch, level="error") == []
            found = findings_of(url, durability, monkeypatch, level="ok")
        assert f"DEVICE_STATUS_DURABILITY={durability}: it confirms writes" in found

    def test_it_misses_a_replica(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with EmbeddedValkey() as server:
            (finding,) = findings_of(server.url, "replica", monkeypatch, level="error")
        assert "fewer than 1 replica confirmed the write" in finding
        assert "bring the replicas back" in finding

    def test_it_counts_the_replicas_that_must_have_it(
        self, servers: Replicated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (finding,) = findings_of(servers.url, "replica:2", monkeypatch, level="error")
        assert "fewer than 2 replicas confirmed the write" in finding


def test_a_worker_without_a_replica_waits_and_goes_on_when_one_comes(tmp_path: Path) -> None:
    with EmbeddedValkey(config={"repl-diskless-sync-delay": "0"}) as server, LocalCognito() as cognito:
        pool = cognito.create_pool()
        cognito.add_user(pool, "ada")
        environment = (
            os.environ
            | cognito.environment()
            | {"DEVICE_STATUS_BROKER_URL": server.url, "DEVICE_STATUS_DURABILITY": "replica"}
        )
        worker = WorkerProcess(environment, tmp_path / "worker.log").start().wait_until_ready()
        try:
            key = cognito.add_device(pool, "ada")
            producer = Producer(settings_of(server.url, "memory"))
            name = producer.enqueue(
                user_pool_id=pool, username="ada", device_key=key, status="not_remembered"
            )
            eventually(lambda: "commands wait until then" in worker.output, "it warns", 20)
            eventually(lambda: "waiting for the ledger" in worker.output, "it waits", 20)
            replica = {"replicaof": f"127.0.0.1 {server.port}"}
            with EmbeddedValkey(config=replica):
                eventually(
                    lambda: (record := producer.lookup(name)) and record.outcome is State.SUCCEEDED,
                    "it is done",
                    30,
                )
                assert worker.terminate() == 0
        finally:
            worker.kill()

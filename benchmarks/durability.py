"""What it costs to wait for the disk or for a replica: time, and what the ledger is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from benchmarks.servers import commands, wait_for
from device_status import Lane, Producer, load_settings, parse_command
from device_status.ledger import Ledger
from device_status.outcomes import Claimed
from device_status_worker.local import EmbeddedValkey

LEVELS = ("memory", "fsync", "replica")


@contextmanager
def _replicated() -> Iterator[EmbeddedValkey]:
    """A primary that syncs each write to its disk, as `fsync` needs, and a replica."""
    with (
        TemporaryDirectory(prefix="device-status-benchmark-") as folder,
        EmbeddedValkey(
            data_dir=Path(folder),
            append_only=True,
            config={"appendfsync": "always", "repl-diskless-sync-delay": "0"},
        ) as primary,
        EmbeddedValkey(config={"replicaof": f"127.0.0.1 {primary.port}"}),
        closing(redis.Redis(port=primary.port)) as client,
    ):
        wait_for(lambda: client.execute_command("WAIT", 1, 100) == 1, "the replica")
        yield primary


def measure(count: int) -> dict[str, Any]:
    """For each level: commands a second by one thread, and calls and bytes that one `enqueue` costs."""
    return {level: _measure(level, count) for level in LEVELS}


def _measure(level: str, count: int) -> dict[str, float]:
    few = max(1, count // 10)
    with _replicated() as server, closing(redis.Redis(port=server.port)) as client:
        settings = load_settings(broker_url=server.url, durability=level)
        producer, ledger = Producer(settings), Ledger.of(settings)
        producer.enqueue_many(commands(1, "warm"))
        before = _asked(client)
        one_by_one = _rate(few, lambda: [producer.enqueue(each) for each in commands(few, "one")])
        calls, size = (after - now for after, now in zip(_asked(client), before, strict=True))
        many = _rate(count, lambda: producer.enqueue_many(commands(count, "many")))
        worked = _rate(few, lambda: [_work(ledger, each) for each in commands(few, "one")])
    return {
        "enqueue, commands/s": round(one_by_one),
        "enqueue_many, commands/s": round(many),
        "claim and settle, commands/s": round(worked),
        "calls for one enqueue": round(calls / few, 2),
        "bytes for one enqueue": round(size / few),
    }


def _work(ledger: Ledger, fields: dict[str, str]) -> None:
    claim = ledger.claim(parse_command(fields), Lane.ROUTINE)
    assert isinstance(claim, Claimed)
    ledger.succeed(claim, "request-1")


def _asked(client: Any) -> tuple[int, int]:
    """Calls by clients of the ledger and broker so far, and bytes that they sent."""
    stats = client.info("commandstats")
    ours = [stat["calls"] for name, stat in stats.items() if name.split("_")[1] not in ("info", "replconf")]
    return sum(ours), client.info("stats")["total_net_input_bytes"]


def _rate(count: int, work: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    work()
    return count / (time.perf_counter() - began_at)

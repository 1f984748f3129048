"""`python -m benchmarks [name …] [--json]`: what this machine says. Run it on an idle one."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import kombu

from benchmarks import baseline, durability
from benchmarks.incident import measure
from benchmarks.servers import Site, commands, site, wait_for
from device_status import Producer

Measurement = dict[str, Any]


def publishing(count: int, runs: int) -> Measurement:
    """Commands a second: `enqueue_many`, against a loop of Celery's `send_task`."""
    with site() as here:
        ours, theirs = [], []
        producer = Producer(here.settings)
        for run in range(runs):
            ours.append(_rate(count, lambda run=run: producer.enqueue_many(commands(count, f"p{run}"))))  # type: ignore[misc]
            few = count // 10

            def loop(run: int = run, few: int = few) -> None:
                _send_to_baseline(here, few, f"b{run}")

            theirs.append(_rate(few, loop))
    return _compared("commands/s published", ours, theirs)


def working(count: int, runs: int) -> Measurement:
    """Commands a second through one worker process without a quota, against the baseline's."""
    ours, theirs = [], []
    with site() as here:
        for run in range(runs):
            ours.append(_worked(here, count, run))
            theirs.append(_worked_by_baseline(here, count, run))
    return _compared("commands/s worked off by one process", ours, theirs)


def quota(count: int, runs: int) -> Measurement:
    """Part of the quota that is used, and the busiest second; baseline: the quota itself."""
    found: Measurement = {}
    with site() as here:
        for requests in (25, 100):
            for processes in (1, 2, 4):
                seen = []
                for run in range(runs):
                    some = count * requests // 100
                    with here.workers(processes, DEVICE_STATUS_UPDATE_QUOTA=str(requests)):
                        Producer(here.settings).enqueue_many(commands(some, f"q{requests}-{processes}-{run}"))
                        wait_for(lambda some=some: here.cognito.count() >= some, "all requests")  # type: ignore[misc]
                    seen.append(here.cognito.seen())
                    here.valkey.restart()
                found[f"quota {requests}/s, {processes} processes"] = {
                    "used": round(statistics.median(each.rate for each in seen) / requests, 3),
                    "busiest second": max(each.busiest_second for each in seen),
                    "requests more than devices": sum(each.requests - each.devices for each in seen),
                }
    return found


def memory(count: int, runs: int) -> Measurement:
    """Most memory of a process that enqueues many commands, against one that enqueues a twentieth."""
    with site() as here:
        few, many = (_peak(here, size) for size in (count // 2, count * 10))
    return {"MiB for few": few, "MiB for twenty times as many": many, "ratio": round(many / few, 2)}


def incident(count: int, runs: int) -> Measurement:
    """What looking at an incident of so many devices costs, against one of a hundredth."""
    with site() as here:
        return {f"{size} devices": measure(here, size) for size in (5 * count, 500 * count)}


def durable(count: int, runs: int) -> Measurement:
    """What DEVICE_STATUS_DURABILITY costs, with appendfsync always and one replica."""
    return durability.measure(count)


MEASUREMENTS: dict[str, Callable[[int, int], Measurement]] = {
    "publishing": publishing,
    "working": working,
    "quota": quota,
    "memory": memory,
    "incident": incident,
    "durability": durable,
}


def main() -> int:
    """Exit code 0 where everything could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MEASUREMENTS))
    parser.add_argument("--count", type=int, default=2000, help="commands a run; default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="the median counts; default: %(default)s")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.names) - MEASUREMENTS.keys():
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    results = {}
    for name in options.names or MEASUREMENTS:
        results[name] = MEASUREMENTS[name](options.count, options.runs)
        if not options.json:
            print(f"{name}: {(MEASUREMENTS[name].__doc__ or '').strip()}")
            for key, value in results[name].items():
                print(f"  {key}: {value}")
    if options.json:
        print(json.dumps(results, indent=2))
    return 0


def _rate(count: int, work: Callable[[], Any]) -> float:
    began_at = time.perf_counter()
    work()
    return count / (time.perf_counter() - began_at)


def _compared(unit: str, ours: list[float], theirs: list[float]) -> Measurement:
    mine, base = statistics.median(ours), statistics.median(theirs)
    return {f"{unit}": round(mine), "baseline": round(base), "ratio": round(mine / base, 2)}


def _worked(here: Site, count: int, run: int) -> float:
    Producer(here.settings).enqueue_many(commands(count, f"w{run}"))
    with here.workers(1, DEVICE_STATUS_UPDATE_QUOTA="100000"):
        wait_for(lambda: here.cognito.count() >= count, "all requests")
    return here.cognito.seen().rate


def _worked_by_baseline(here: Site, count: int, run: int) -> float:
    _send_to_baseline(here, count, f"w{run}")
    with here.workers(1, app="benchmarks.baseline", BASELINE_BROKER_URL=here.valkey.url):
        wait_for(lambda: here.cognito.count() >= count, "all requests")
    return here.cognito.seen().rate


def _send_to_baseline(here: Site, count: int, run: str) -> None:
    # A connection of this run alone: the app would keep one to the servers of another measurement.
    with kombu.Connection(here.valkey.url) as connection:
        for command in commands(count, run):
            baseline.app.send_task(
                "baseline.apply", kwargs={"command": command}, queue="baseline", connection=connection
            )


def _peak(here: Site, count: int) -> float:
    return here.peak_memory(
        "from benchmarks.servers import commands; from device_status import Producer\n"
        f"assert Producer().enqueue_many(commands({count}, 'm{count}')).accepted == {count}"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sys.exit(main())

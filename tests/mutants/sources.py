"""Copies of the sources, to break without touching the ones that are edited."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from compileall import compile_dir
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

from mutants.forks import Ended, run_pytest
from mutants.mutant import ROOT, Mutant

_PARTS: Final = ("producers", "worker", "tests", "pyproject.toml")
_PACKAGES: Final = ("producers/device_status", "worker/device_status_worker")
_TEST_TIMEOUT: Final = 60
"""Seconds of one test; a mutant that makes it hang has not been noticed by it."""
_RUN_TIMEOUT: Final = 900
"""Seconds of one run of pytest."""


class Sources:
    """A copy of packages and tests; what runs in it, child processes included, imports the copy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for part in _PARTS:
            _copy(ROOT / part, folder / part)
        # By hash and not by time: a mutant of the same length in the same second would go unnoticed.
        compile_dir(folder, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        self._paths = [str(folder / part) for part in ("tests", "producers", "worker")]
        self._environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(self._paths),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def test(self, tests: Sequence[str], *options: str) -> Ended:
        """Run tests by their ids."""
        # What an assertion compared is not read here, and to have it explained costs a second.
        fixed = ["-q", "--assert=plain", "-p", "no:randomly", "-p", "no:cacheprovider"]
        arguments = [*fixed, f"--timeout={_TEST_TIMEOUT}", *options, *tests]
        return run_pytest(arguments, self._folder, self._environment, self._paths, _RUN_TIMEOUT)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """With the mutant in place.

        Raises:
            NoLongerAppliesError: see `Mutant.apply`.
        """
        with self._changed(mutant.file, mutant.apply):
            yield

    def isolation_problem(self, test: str) -> str | None:
        """Say how the code under test could be another than the copy, which would make verdicts worthless.

        Parameters:
            test: id of any test that imports both packages.
        """
        for package in _PACKAGES:
            marker = f"the copy of {package} was imported"
            broken = f"raise ImportError({marker!r})\n"
            with self._changed(f"{package}/__init__.py", lambda _, broken=broken: broken):
                here, there = self.test([test]), self._import_in_a_child(Path(package).name)
            for ended in (here, there):
                if ended.code == 0 or marker not in ended.output:
                    return f"{package} is not imported from the copy:\n{ended.output}"
        return None

    def _import_in_a_child(self, package: str) -> Ended:
        """As tests start programs: with their own environment, wherever they stand."""
        child = subprocess.run(
            [sys.executable, "-c", f"import {package}"],
            cwd="/",
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ended(child.returncode, child.stdout)

    @contextmanager
    def _changed(self, name: str, change: Callable[[str], str]) -> Iterator[None]:
        file = self._folder / name
        source = file.read_text(encoding="utf-8")
        file.write_text(change(source), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(source, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    else:
        shutil.copy(source, target)

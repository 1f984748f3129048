"""Promises to the type checkers of a service: no false alarm, and each mistake is found on its line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RIGHT, WRONG = HERE / "right.py", HERE / "wrong.py"

Problems = dict[int, str]
"""What is wrong in a file, by the number of its line, from 1."""


def mypy(file: Path, folder: Path) -> Problems:
    """What mypy says, strict and without any configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(folder), str(file)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^(Found|Success)", done.stdout, re.MULTILINE), done.stdout + done.stderr
    found = re.findall(r"^(.+):(\d+): error: (.+)$", done.stdout, re.MULTILINE)
    assert {Path(name).name for name, _, _ in found} <= {file.name}, done.stdout
    return {int(line): text for _, line, text in found}


def pyright(file: Path, folder: Path) -> Problems:
    """What pyright says in its strict mode."""
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps({"include": [str(file)], "typeCheckingMode": "strict"}))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "basedpyright", "--outputjson"),
            *("--project", str(config), "--pythonpath", sys.executable),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, done.stdout
    return {
        problem["range"]["start"]["line"] + 1: problem["message"] for problem in report["generalDiagnostics"]
    }


@pytest.fixture(params=[mypy, pyright], ids=lambda checker: checker.__name__)
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Problems]:
    return lambda file: request.param(file, tmp_path)


def test_every_call_that_may_be_made_passes(check: Callable[[Path], Problems]) -> None:
    assert check(RIGHT) == {}


def test_each_mistake_is_found_and_nothing_else(check: Callable[[Path], Problems]) -> None:
    lines = WRONG.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert len(marked) > 20
    found = check(WRONG)
    assert found.keys() == marked, found

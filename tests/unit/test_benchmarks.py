"""The benchmarks run; what they measure is for an idle machine to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["publishing", "working", "memory", "incident", "durability"])
def test_a_measurement_runs(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks", name, "--count", "20", "--runs", "1", "--json"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)[name]


def test_an_unknown_one_is_told() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 2
    assert "no measurement nothing" in shown.stderr

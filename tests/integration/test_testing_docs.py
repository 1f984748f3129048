"""The tests in docs/testing.md are found and pass, as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
OURS = ("PYTHONPATH", "PYTEST_ADDOPTS")
"""What this run was started with, and a stranger's is not."""
# A first start of the worker on a busy machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's blocks, each under the name in its first line."""
    folder = tmp_path_factory.mktemp("project")
    for block in BLOCKS:
        (name,) = re.findall(r"\A# (\w+\.py)\n", block)
        assert not (folder / name).exists()
        (folder / name).write_text(block)
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A module of Python, where a stranger's project is."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env={name: value for name, value in os.environ.items() if name not in OURS},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_pass(project: Path) -> None:
    done = run(project, "pytest", "-p", "no:cacheprovider", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


def test_a_service_is_tested_in_ten_lines(project: Path) -> None:
    lines = (project / "test_lost_devices.py").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) <= 10


def test_the_failure_is_the_one_on_the_page(project: Path, tmp_path: Path) -> None:
    (tmp_path / "lost_devices.py").write_text((project / "lost_devices.py").read_text())
    text = (project / "test_lost_devices.py").read_text()
    (tmp_path / "test_bob.py").write_text(
        text.replace('username="ada", status="not_remembered"', 'username="bob"')
    )
    done = run(tmp_path, "pytest", "-p", "no:cacheprovider", "-q")
    assert done.returncode == 1
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in shown.splitlines():
        pattern = re.escape(line.replace("019ab4c2-…", "…")).replace("…", ".*")
        assert re.search(pattern, done.stdout), line


def test_types_are_complete_for_strict_checkers(project: Path) -> None:
    done = run(project, "mypy", "--strict", "--cache-dir", str(project / "cache"), "test_typed.py")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = (project / "test_typed.py").read_text().replace("assert_not_enqueued", "assert_enqueue")
    (project / "wrong.py").write_text(wrong)
    done = run(project, "mypy", "--strict", "--cache-dir", str(project / "cache"), "wrong.py")
    assert '"FakeProducer" has no attribute "assert_enqueue"' in done.stdout

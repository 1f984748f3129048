"""A pytest plugin for CI, where everything is installed: a test that is skipped has failed.

PYTHONPATH=tests python -m pytest -p support.no_skips
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test, or a fixture of it, was skipped."""
    return _failed((yield))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module was skipped."""
    return _failed((yield))


def _failed(report: Report) -> Report:
    # An expected failure is reported as skipped too.
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI allows no skipped test. {reason}"
    return report

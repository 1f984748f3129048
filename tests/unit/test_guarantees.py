"""Every promise in docs/guarantees.md names tests; here is whether they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PROMISES)))


def test_every_test_that_is_named_is_looked_for() -> None:
    """One written in another way, such as with a second `::`, would pass unseen."""
    assert NAMED
    assert len(NAMED) == len(set(re.findall(r"\btests/[^`\s]*", PROMISES)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE), f"{file} has no {name}"

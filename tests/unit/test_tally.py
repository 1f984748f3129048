"""Promises of the count of a file's lines: it says so if a line is missing."""

from __future__ import annotations

import pytest

from device_status.cli.files import Tally


def test_lines_that_add_up_are_no_mistake() -> None:
    tally = Tally(file_lines=12, header=2, blank=1, continued=3, accepted=1, repeated=2, refused=3)
    assert tally.mistake() is None
    assert str(tally) == ("lines: 6; accepted: 1, repeated: 2, refused: 3; header: 2, blank: 1, continued: 3")


COUNTS = dict.fromkeys(("header", "blank", "continued", "accepted", "repeated", "refused"), 7) | {
    "file_lines": 42
}


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("name", COUNTS)
def test_one_more_or_less_in_any_count_is_one(name: str, change: int) -> None:
    assert Tally(**COUNTS).mistake() is None
    mistake = Tally(**COUNTS | {name: COUNTS[name] + change}).mistake()
    assert mistake is not None
    assert "the lines do not add up" in mistake
    assert "\n" not in mistake

"""What a file holds: records, each with the number of its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of a command, device or user, or why the line has none."""

    number: int
    """Of its first line in the file, from 1."""
    fields: Mapping[str, Any] | None
    problem: str = ""
    """Completes the sentence "line 7 …"; holds nothing of the line itself."""

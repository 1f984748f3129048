"""What a run has shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Result:
    """What was seen; `wrong` is empty after a good run."""

    faults: Counter[str] = field(default_factory=Counter)
    answers: dict[str, int] = field(default_factory=dict)
    """Requests that the service failed now and then, by how."""
    commands: int = 0
    repeated: int = 0
    foreign: int = 0
    """Messages of producers without our package."""
    malformed: int = 0
    lost: list[str] = field(default_factory=list)
    """Messages that lay in a Redis broker alone, and went with a connection or a broker that ended."""
    rolled_back: list[str] = field(default_factory=list)
    """Commands that a primary acknowledged and its replica had not seen when it took over."""
    outcomes: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    applied: int = 0
    duplicates: int = 0
    most_in_a_second: int = 0
    """Requests in a sliding second, less what was held up on its way: see quota.py."""
    refused_calls: int = 0
    """Of our own producers, by error; each was repeated."""
    slowest_call: float = 0.0
    ends: int = 0
    """Workers that ended in order in the midst of a fault."""
    slowest_end: float = 0.0
    recovery: float = 0.0
    seconds: float = 0.0
    log_lines: int = 0
    """Of the worker that wrote most."""
    log_bytes: int = 0
    wrong: list[str] = field(default_factory=list)

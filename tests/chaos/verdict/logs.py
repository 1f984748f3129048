"""What the workers' logs must not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

MOST_LINES_A_MINUTE = 200
"""Of one worker: a trouble is logged once in five seconds, and several may come at once."""


def sizes(log: Path) -> tuple[int, int]:
    """Lines and bytes."""
    text = log.read_bytes()
    return text.count(b"\n"), len(text)


def problems(log: Path, seconds: float, burials: int) -> Iterator[str]:
    """What is wrong with the log of a worker.

    Parameters:
        seconds: for which it was written.
        burials: messages that are no command, which each have a line.
    """
    text = log.read_text(errors="backslashreplace")
    for found in re.finditer(r"Traceback|Unrecoverable|CRITICAL", text):
        yield f"{log.name}: {text[max(0, found.start() - 500) : found.start() + 2500]}"
    lines = text.count("\n")
    most = MOST_LINES_A_MINUTE * (1 + seconds / 60) + burials
    if lines > most:
        yield f"{log.name}: {lines} lines, at most {most:.0f} allowed; most of them: {_frequent(text)}"


def _frequent(text: str) -> str:
    kinds: dict[str, int] = {}
    for line in text.splitlines():
        kind = re.sub(r"[0-9a-f]{6,}|\d+", "N", line.partition("] ")[2])[:120]
        kinds[kind] = kinds.get(kind, 0) + 1
    return str(sorted(kinds.items(), key=lambda each: -each[1])[:5])

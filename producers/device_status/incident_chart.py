"""An incident's progress over time, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from device_status.incident import BUCKET

_WIDTH: Final = 860
_HEIGHT: Final = 240
_LEFT: Final = 60
_BOTTOM: Final = 28
_TOP: Final = 14
_RIGHT: Final = 10
"""Size and margins, in CSS pixels."""
_MOST_POINTS: Final = 400


def chart(timeline: Sequence[tuple[datetime, int]], total: int) -> str:
    """How many of `total` devices had their outcome, over time.

    Parameters:
        timeline: devices that had their outcome in each `BUCKET` seconds that saw any, in order.
    """
    if not timeline:
        return "<p>No device has had an outcome.</p>"
    began = timeline[0][0].timestamp()
    span = timeline[-1][0].timestamp() + BUCKET - began
    done, points = 0, [(0.0, 0)]
    step = max(1, len(timeline) // _MOST_POINTS)
    for number, (at, count) in enumerate(timeline):
        done += count
        if number % step == 0 or number == len(timeline) - 1:
            points.append((at.timestamp() + BUCKET - began, done))
    most = max(total, done, 1)

    def x(seconds: float) -> float:
        return _LEFT + seconds / span * (_WIDTH - _LEFT - _RIGHT)

    def y(count: float) -> float:
        return _HEIGHT - _BOTTOM - count / most * (_HEIGHT - _BOTTOM - _TOP)

    parts = [
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' width='100%'>",
        f"<title>{done} of {total} devices had their outcome</title>",
    ]
    for part in (0, 0.5, 1):
        parts += [
            f"<path d='M{_LEFT} {y(part * most):.1f}H{_WIDTH - _RIGHT}' stroke='#d9dde2'/>",
            f"<text x='{_LEFT - 6}' y='{y(part * most) + 4:.1f}' text-anchor='end'>{part * most:,.0f}</text>",
        ]
    for part, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        at = datetime.fromtimestamp(began + part * span, UTC)
        when = f"{at:%Y-%m-%d %H:%M:%S} UTC" if part == 0 else f"{at:%H:%M:%S}"
        parts.append(f"<text x='{x(part * span):.1f}' y='{_HEIGHT - 8}' text-anchor='{anchor}'>{when}</text>")
    line = " ".join(f"{x(seconds):.1f},{y(count):.1f}" for seconds, count in points)
    parts.append(f"<polyline points='{line}' fill='none' stroke='#1f5fbf' stroke-width='2'/></svg>")
    return "".join(parts)

"""Takes away what is past its time, in steps: a script that touched a million keys would stop the ledger."""

from __future__ import annotations

from typing import Final

from device_status.ledger import Ledger, own_ms

PORTION: Final = 300
"""Keys of a kind that one script touches: some milliseconds."""
STEPS: Final = 20
"""Scripts of a kind in one round, so that the sweeper keeps its lead and its other work."""


def forget(ledger: Ledger) -> None:
    """Forget incidents past the retention, and take away what they left and what was kept for them."""
    _some(ledger, "forget", own_ms())
    _some(ledger, "forgotten", PORTION)
    _some(ledger, "release_fences", PORTION, ledger.retention_ms)


def _some(ledger: Ledger, script: str, *arguments: int) -> None:
    for _ in range(STEPS):
        if not ledger.scripts.run(script, [], *arguments):
            return

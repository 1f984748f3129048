"""The short form of a chaos run, for CI: minutes, not the half hour of `make chaos`.

Not part of `make test`: what a killed worker held comes back after a lease or the broker's visibility
timeout, and that is waited for in earnest.
"""

from __future__ import annotations

import os

import pytest

from chaos.run import run
from support.rabbitmq import missing

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_nothing_is_lost_or_wrong(broker: str) -> None:
    if broker == "rabbitmq" and (reason := missing()):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    result = run(broker=broker, seed=seed, commands=800, devices=200, workers=3, every=2, long_stops=1)
    assert result.wrong == [], f"seed {seed}"
    assert sum(result.faults.values()) >= 4, "too few faults to show anything"

"""The short form of a chaos run, for CI: minutes, not the half hour of `make chaos`. Each kind of fault is
there once.

Not part of `make test`: what a killed worker held comes back after a lease or the broker's visibility
timeout, and that is waited for in earnest.
"""

from __future__ import annotations

import os

import pytest

from chaos.run import Options, run
from support import stepping
from support.rabbitmq import missing as rabbitmq_missing
from support.servers import redis_missing

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


RUNS = {
    ("redis", "valkey"): {"ledger": (0, 2), "Cognito": (0, 3)},
    ("rabbitmq", "redis"): {"ledger": (1, 2), "Cognito": (1, 3)},
    ("redis", "sentinel"): {"Cognito": (2, 3)},
}
"""By broker and ledger: which share each has of the faults that can happen to several of them."""


@pytest.mark.parametrize(("broker", "ledger"), RUNS)
def test_nothing_is_lost_or_wrong(broker: str, ledger: str) -> None:
    for is_used, missing in (
        (broker == "rabbitmq", rabbitmq_missing),
        (ledger == "redis", redis_missing),
        (ledger == "valkey", stepping.missing),
    ):
        if is_used and (reason := missing()):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    options = Options(
        broker=broker,
        ledger=ledger,
        seed=seed,
        commands=800,
        devices=200,
        workers=3,
        quota=100,
        every=1,
        long_stops=0,
        shares=RUNS[broker, ledger],
        once=True,
    )
    result = run(options, print)
    assert result.wrong == [], options

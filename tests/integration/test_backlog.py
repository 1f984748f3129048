"""A backlog of hours: the sweeper leaves it alone, and it costs a round nothing."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from device_status import Lane, Settings
from device_status.ledger import PREFIX, Ledger
from device_status.publisher import Publisher, queue_name
from device_status_worker.sweeper import Sweeper
from support.clock import server_ms

MANY = 1_000_000
_CHUNK = 20_000

# As enter.lua leaves them, all queued at one time, long ago.
_FILL = """
local first, count, at = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
for number = first, first + count - 1 do
  local key = 'backlog-' .. number
  redis.call('HSET', 'device-status:command:' .. key, 'state', 'queued', 'lane', 'bulk', 'queued_at', at)
  redis.call('ZADD', 'device-status:queued:bulk', at, key)
end
"""


def fill(client: Any, count: int) -> None:
    at = server_ms(client) - 12 * 3600 * 1000
    for first in range(0, count, _CHUNK):
        client.eval(_FILL, 0, first, min(_CHUNK, count - first), at)


def calls_of_a_round(ledger: Ledger, sweeper: Sweeper) -> dict[str, int]:
    """How often the server ran which command."""
    ledger.redis.config_resetstat()
    assert sweeper.round() == 0, "something of the backlog was published again"
    stats = ledger.redis.info("commandstats")
    own = ("info", "config")
    return {
        name.removeprefix("cmdstat_"): each["calls"]
        for name, each in stats.items()
        if not name.removeprefix("cmdstat_").startswith(own)
    }


@pytest.mark.timeout(300)
def test_a_million_queued_commands_cost_a_round_what_a_thousand_cost(
    settings: Settings, ledger: Ledger
) -> None:
    seen = []
    for count in (1_000, MANY):
        ledger.redis.flushall()
        fill(ledger.redis, count)
        sweeper = Sweeper(ledger, Publisher(settings.broker_url), Event())
        sweeper.round()  # Takes the lead, and sends the one mark that follows the backlog.
        seen.append(calls_of_a_round(ledger, sweeper))
        assert ledger.redis.zcard(f"{PREFIX}queued:bulk") == count
        assert ledger.redis.llen(queue_name(Lane.BULK)) == 1
    thousand, million = seen
    assert million == thousand

"""Makes time pass in the ledger without waiting for it."""

from __future__ import annotations

import time
from typing import Any

# Everything on record moves into the past, which to the scripts is the same as time going by. Times that
# a command itself carries (issued_at, expires_at) are part of its content and stay.
_SHIFT = """
local by = tonumber(ARGV[1])
local times = {'lease_until', 'lease_until_own', 'suspect_until', 'suspect_until_own', 'first_attempt_at',
  'first_attempt_own', 'entered_at', 'queued_at', 'finished_at', 'first_at', 'last_at', 'mark', 'received_at',
  'published_at', 'all_users_due', 'resting_until', 'opened_at', 'ended_at', 'resumed_at'}
for _, key in ipairs(redis.call('KEYS', 'device-status:*')) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then
    for _, field in ipairs(times) do
      local time = redis.call('HGET', key, field)
      if time then redis.call('HSET', key, field, string.format('%.0f', time - by)) end
    end
    if string.find(key, ':working$') or string.find(key, ':verifying$') then
      local leases = redis.call('HGETALL', key)
      for i = 1, #leases, 2 do
        local lease = cjson.decode(leases[i + 1])
        lease.first_at, lease.first_own = lease.first_at - by, lease.first_own - by
        redis.call('HSET', key, leases[i], cjson.encode(lease))
      end
    end
    if string.find(key, 'device-status:gate:', 1, true) then
      -- In microseconds.
      for _, field in ipairs({'next', 'reserved_at', 'rate_at', 'paused_until', 'seen'}) do
        local time = redis.call('HGET', key, field)
        if time then redis.call('HSET', key, field, string.format('%.0f', time - 1000 * by)) end
      end
      local quotas = redis.call('HGET', key, 'quotas')
      if quotas then
        redis.call('HSET', key, 'quotas', (string.gsub(quotas, '@(%d+)', function(time)
          return string.format('@%.0f', time - 1000 * by)
        end)))
      end
    end
  elseif kind == 'zset' then
    local unit = string.find(key, 'device-status:gate:', 1, true) and 1000 or 1  -- In microseconds.
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -by * unit, member)
    end
  end
  local life = redis.call('PTTL', key)
  if life > math.max(-1, by) then  -- -1: it has none.
    redis.call('PEXPIRE', key, life - by)
  elseif life >= 0 then
    redis.call('DEL', key)
  end
end
"""


def let_time_pass(client: Any, seconds: float) -> None:
    """Move everything the ledger holds `seconds` into the past, expiries included.

    Below 0 it moves into the future: to the scripts, all clocks step back.
    """
    client.eval(_SHIFT, 0, int(seconds * 1000))


def server_ms(client: Any) -> int:
    """The server's clock, as the scripts read it."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def apart(client: Any) -> float:
    """Seconds that the server's clock is ahead of this process's."""
    seconds, microseconds = client.time()
    return float(int(seconds) + int(microseconds) / 1e6 - time.time())


class PassingTime:
    """Waits as a gate does, by turning the ledger's clock instead of sleeping.

    Attributes:
        waits: the seconds of each wait.
        stops: set it where the worker shuts down.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.waits: list[float] = []
        self.stops = False

    def __call__(self, seconds: float) -> bool:
        """Wait; True where the worker shuts down."""
        self.waits.append(seconds)
        let_time_pass(self._client, seconds)
        return self.stops

-- Reserve a turn, and when it has come take a slot. Turns are a GCRA with an emission interval of 1/rate and
-- no burst. A slot is for this moment: one kept for a thread that wakes up late for it would pass unused. Who
-- comes late to a turn takes the next slot that is free, and the limit on slots holds for any window, wherever
-- it begins.
-- KEYS: 1 gate:<target>:<category>, 2 its slots of the last window
-- ARGV: ceiling (requests a second), horizon (how far ahead a turn may be reserved, microseconds), most
--       microseconds to grow back from nothing to the ceiling, probe rate (requests a second), most slots in
--       a window, window (microseconds), part of the interval that slots keep from each other, 1 where the
--       asker's turn has come else 0
-- Returns {'slot', 0, 1 where faults are counted else 0, its name}; {'turn', microseconds after which to ask
-- again}; {'later', microseconds after which a turn comes within the horizon}; {'paused', microseconds left,
-- why}.
local gate, slots = KEYS[1], KEYS[2]
local ceiling, horizon, recovery, probe = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local most, window, distance = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', gate, 'next', 'rate', 'rate_at', 'faults', 'paused_until', 'why')

local paused_until = tonumber(known[5]) or 0
if paused_until > now then
  return {'paused', paused_until - now, known[6] or ''}
end

local rate, faults = ceiling, tonumber(known[4]) or 0
if known[2] then
  rate = math.min(ceiling, tonumber(known[2]) + ceiling * (now - tonumber(known[3])) / recovery)
end
rate = math.max(rate / 2 ^ faults, math.min(probe, ceiling))

if ARGV[8] == '0' then
  local turn = math.max(tonumber(known[1]) or 0, now)
  if turn - now > horizon then
    return {'later', turn - now - horizon}
  end
  -- %.0f: Lua would print a number this large in the form 1.7e+15.
  redis.call('HSET', gate, 'next', string.format('%.0f', turn + 1000000 / rate), 'ceiling', ceiling)
  redis.call('EXPIRE', gate, 86400)
  if turn > now then
    return {'turn', turn - now}
  end
end

redis.call('ZREMRANGEBYSCORE', slots, '-inf', now - window)
-- On a gate that was slowed down, turns reserved before are too near to each other.
if rate < ceiling then distance = 1 end
local slot = now
local last = redis.call('ZRANGE', slots, -1, -1, 'WITHSCORES')[2]
if last then slot = math.max(slot, tonumber(last) + distance * 1000000 / rate) end
local earliest = redis.call('ZRANGE', slots, -most, -most, 'WITHSCORES')[2]
if earliest then slot = math.max(slot, tonumber(earliest) + window) end
if slot > now then
  return {'turn', math.ceil(slot - now)}
end
local name = string.format('%.0f', now)
redis.call('ZADD', slots, name, name)
redis.call('PEXPIRE', slots, math.ceil(window / 1000) + 60000)
return {'slot', 0, faults > 0 and 1 or 0, name}

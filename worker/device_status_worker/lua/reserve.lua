-- Reserve the next slot: GCRA with an emission interval of 1/rate and no burst.
-- KEYS: 1 gate:<target>:<category>
-- ARGV: ceiling (requests a second), horizon (how far ahead a slot may be reserved, microseconds), most
--       microseconds to grow back from nothing to the ceiling, probe rate (requests a second)
-- Returns {'slot', microseconds to it, 1 where faults are counted else 0}; {'later', microseconds after
-- which a slot comes within the horizon}; {'paused', microseconds left, why}.
local gate = KEYS[1]
local ceiling, horizon, recovery, probe = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
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

local slot = math.max(tonumber(known[1]) or 0, now)
if slot - now > horizon then
  return {'later', slot - now - horizon}
end
-- %.0f: Lua would print a number this large in the form 1.7e+15.
redis.call('HSET', gate, 'next', string.format('%.0f', slot + 1000000 / rate), 'ceiling', ceiling)
redis.call('EXPIRE', gate, 86400)
return {'slot', slot - now, faults > 0 and 1 or 0}

-- Tell the gate how a request went, so that it adapts for everybody.
-- KEYS: 1 gate:<target>:<category>
-- ARGV: what (throttled, fault, succeeded, paused), ceiling, recovery (as reserve.lua), probe rate,
--       microseconds to pause, why
local gate, what = KEYS[1], ARGV[1]
local ceiling, recovery, probe, pause = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', gate, 'rate', 'rate_at', 'faults')
local faults = tonumber(known[3]) or 0
-- So many halvings lead from the ceiling to the probe rate; more would only delay the way back.
local most = math.max(0, math.ceil(math.log(ceiling / probe) / math.log(2)))

if what == 'throttled' then
  -- Many requests of one second meet the same throttle: it cuts once.
  if not known[2] or now - tonumber(known[2]) >= 1000000 then
    local rate = ceiling
    if known[1] then
      rate = math.min(ceiling, tonumber(known[1]) + ceiling * (now - tonumber(known[2])) / recovery)
    end
    redis.call('HSET', gate, 'rate', math.max(0.7 * rate, math.min(probe, ceiling)),
      'rate_at', string.format('%.0f', now))
  end
elseif what == 'fault' then
  redis.call('HSET', gate, 'faults', math.min(most, faults + 1))
elseif what == 'succeeded' then
  redis.call('HSET', gate, 'faults', math.max(0, faults - 1))
  redis.call('HDEL', gate, 'paused_until', 'why')
elseif what == 'paused' then
  -- When the pause is over, the rate is that of probes until one succeeds.
  redis.call('HSET', gate, 'paused_until', string.format('%.0f', now + pause), 'why', ARGV[6], 'faults', most)
end
redis.call('EXPIRE', gate, 86400)

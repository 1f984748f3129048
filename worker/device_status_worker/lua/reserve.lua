-- Reserve a turn, and when it has come take a slot. Turns are a GCRA with an emission interval of 1/rate and
-- no burst. A slot is for this moment: one kept for a thread that wakes up late for it would pass unused. Who
-- comes late to a turn takes the next slot that is free, and the limit on slots holds for any window, wherever
-- it begins.
-- KEYS: 1 gate:<target>:<category>, 2 its slots: as many of the last ones as a window may hold
-- ARGV: 1-5 as in prelude_gate.lua, 6 horizon (how far ahead a turn may be reserved, microseconds), 7 part by which the
--       window is longer than a second, 8 part of the interval that slots keep from each other, 9 1 if the asker's turn
--       has come else 0
-- Returns {'slot', 0, 1 where faults are counted else 0, its name}; {'turn', microseconds after which to ask
-- again}; {'later', microseconds after which a turn comes within the horizon}; {'paused', microseconds left,
-- why}.
local slots = KEYS[2]
local horizon, margin, distance = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = now_us()
local gate = read_gate(now)

if gate.paused_until > now then
  write_gate(gate)
  return {'paused', gate.paused_until - now, gate.why}
end

local rate = math.max(gate.rate / 2 ^ gate.faults, gate.slowest)

if ARGV[9] == '0' then
  local turn = math.max(gate.next, now)
  if turn - now > horizon then
    write_gate(gate)
    return {'later', turn - now - horizon}
  end
  gate.next = turn + SECOND / rate
  reserve_next(gate, now)
  change(gate, 'ceiling', gate.ceiling)
  if turn > now then
    write_gate(gate)
    return {'turn', turn - now}
  end
end

-- Slots have a time of their own, which no step of the clock moves: the server's, less `behind`. Nobody can tell whether
-- the gate was idle for long or the clock stepped forward, so that counts as one interval: what was sent in the last
-- second is still counted, and a gate that is used less than the quota allows never waits for it.
local interval = math.ceil(SECOND / rate)
local longest = math.max(0.3 * SECOND, 8 * interval)  -- Held-up threads leave shorter ones.
local last = tonumber(redis.call('ZRANGE', slots, -1, -1, 'WITHSCORES')[2])
local at, known_at = now - gate.behind, last and math.max(last, gate.seen)
if known_at and (at < known_at or at > known_at + longest) then
  at = at < known_at and known_at or known_at + interval
  change(gate, 'behind', as_text(now - at))
end

local most = math.max(1, math.floor(gate.quota))
local window = (1 + margin) * SECOND * most / gate.quota
-- On a gate that was slowed down, turns reserved before are too near to each other.
if rate < gate.ceiling then distance = 1 end
local slot = at
if last then slot = math.max(slot, last + distance * SECOND / rate) end
local earliest = redis.call('ZRANGE', slots, -most, -most, 'WITHSCORES')[2]
if earliest then slot = math.max(slot, earliest + window) end
if slot > at then
  -- Who waits for long looks again in between: so this time is known to have passed.
  if at > known_at + longest / 2 then change(gate, 'seen', as_text(at)) end
  write_gate(gate)
  return {'turn', math.ceil(math.min(slot - at, longest / 2))}
end
write_gate(gate)
local name = as_text(now)
-- After a step back, the same microsecond comes again.
while redis.call('ZADD', slots, 'NX', as_text(at), name) == 0 do name = name .. '+' end
redis.call('ZREMRANGEBYRANK', slots, 0, -most - 1)
-- As long as the gate: what expired by a step forward would not be counted.
redis.call('EXPIRE', slots, DAY)
return {'slot', 0, gate.faults > 0 and 1 or 0, name}

-- Tell the gate how a request went, so that it adapts for everybody.
-- KEYS: 1 gate:<target>:<category>
-- ARGV: 1-5 as in prelude_gate.lua, 6 what (throttled, fault, succeeded, paused), 7 why
local what = ARGV[6]
local now = now_us()
local gate = read_gate(now)
-- So many halvings lead from the ceiling to the probe rate; more would only delay the way back.
local most = math.max(0, math.ceil(math.log(gate.ceiling / ARGV[4]) / math.log(2)))

if what == 'throttled' then
  -- Many requests of one second meet the same throttle: it cuts once.
  if not gate.rate_at or now - gate.rate_at >= SECOND then
    change(gate, 'rate', math.max(0.7 * gate.rate, gate.slowest))
    change(gate, 'rate_at', as_text(now))
  end
elseif what == 'fault' then
  change(gate, 'faults', math.min(most, gate.faults + 1))
elseif what == 'succeeded' then
  change(gate, 'faults', math.max(0, gate.faults - 1))
elseif what == 'paused' then
  -- When the pause is over, the rate is that of probes until one succeeds.
  change(gate, 'paused_until', as_text(now + ARGV[5]))
  change(gate, 'why', ARGV[7])
  change(gate, 'faults', most)
end
write_gate(gate)
if what == 'succeeded' then redis.call('HDEL', KEYS[1], 'paused_until', 'why') end

-- Give a slot back that no request was sent in, and the turn that led to it.
-- KEYS: 1 gate:<target>:<category>, 2 its slots
-- ARGV: the slot's name
local gate, slots = KEYS[1], KEYS[2]
if redis.call('ZREM', slots, ARGV[1]) == 1 then
  local known = redis.call('HMGET', gate, 'next', 'ceiling')
  if known[1] then
    redis.call('HSET', gate, 'next', as_text(known[1] - SECOND / known[2]))
  end
end

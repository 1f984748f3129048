-- Keep a worker's entry, and take away those that were not renewed in time.
-- KEYS: 1 workers (id → entry), 2 workers:seen (ids by the time of their last renewal)
-- ARGV: id, entry, milliseconds that an entry holds
-- Returns all entries as {id, entry, …}.
local workers, seen, id, entry, holds = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = now_ms()
redis.call('HSET', workers, id, entry)
redis.call('ZADD', seen, now, id)
-- Of a clock that was ahead of this one: who still runs renews it.
for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', seen, '(' .. now, '+inf')) do
  redis.call('ZADD', seen, now, ahead)
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - holds)) do
  redis.call('HDEL', workers, gone)
  redis.call('ZREM', seen, gone)
end
-- When the last worker is killed, nobody is left to take its entry away.
redis.call('PEXPIRE', workers, holds)
redis.call('PEXPIRE', seen, holds)
return redis.call('HGETALL', workers)

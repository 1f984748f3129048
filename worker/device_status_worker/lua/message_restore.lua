-- Puts a message that was delivered back in its queue, unless it was acknowledged meanwhile.
-- KEYS: unacked_index, unacked, queue. ARGV: delivery tag, message, LPUSH (it is read last) or RPUSH (next).
-- It takes away before it adds, so a Redis that is full does not refuse it: see message_take.lua.
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then
  redis.call(ARGV[3], KEYS[3], ARGV[2])
end

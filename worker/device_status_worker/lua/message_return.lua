-- Puts a message back where BRPOP took it, at the end that is read next.
-- KEYS: queue, unacked_index. ARGV: message.
-- The first line is for a Redis that is full: see message_take.lua.
redis.call('ZREM', KEYS[2], '')
redis.call('RPUSH', KEYS[1], ARGV[1])

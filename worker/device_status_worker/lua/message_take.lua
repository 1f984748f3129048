-- Registers a message that BRPOP took off its queue as delivered and not acknowledged, as kombu does.
-- KEYS: unacked_index, unacked. ARGV: delivery tag, time in seconds, [message, exchange, routing key] as JSON.
-- A script may use memory once it has written, so a Redis that is full does not refuse this: what is registered
-- lay there a moment ago, and a full broker can only be emptied by workers that take what it holds.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])

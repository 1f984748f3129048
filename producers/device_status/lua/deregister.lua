-- Take a worker's entry away.
-- KEYS: 1 workers, 2 workers:seen (as register.lua)   ARGV: id
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])

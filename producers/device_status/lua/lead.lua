-- Take or keep the lease on the sweeper's work. One that lies further ahead than it can, since this server's clock stepped
-- back, is over.
-- KEYS: 1 sweeper   ARGV: worker, lease in milliseconds
-- Returns {1 where the lease is this worker's else 0, this server's clock}.
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] and redis.call('PTTL', KEYS[1]) <= tonumber(ARGV[2]) then
  return {0, now_ms()}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, now_ms()}

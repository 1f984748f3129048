-- Take or keep the lease on the sweeper's work.
-- KEYS: 1 sweeper   ARGV: worker, lease in milliseconds
-- Returns 1 where the lease is this worker's.
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

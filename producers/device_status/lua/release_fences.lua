-- Give fences an expiry that no incident needs any longer (see raise_fence): those of one pool that are older than all
-- of its incidents.
-- ARGV: most fences to look at, retention
-- Returns 1 where there may be more to do.
local due, now = PREFIX .. 'fences:due', now_ms()
local pool = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if not pool then
  return 0
end
local fences = PREFIX .. 'fences:' .. pool
local oldest = redis.call('ZRANGE', PREFIX .. 'incidents:of:' .. pool, 0, 0, 'WITHSCORES')[2]
local devices = redis.call('ZRANGE', fences, '-inf', '(' .. (oldest or now), 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, device in ipairs(devices) do
  redis.call('PEXPIRE', device, fence_life(tonumber(ARGV[2])))
  redis.call('ZREM', fences, device)
end
if #devices == tonumber(ARGV[1]) then
  return 1
end
-- What is left is ahead of the clock, or waits until the oldest incident is forgotten.
redis.call('ZREM', due, pool)
local ahead = not oldest and redis.call('ZRANGE', fences, 0, 0, 'WITHSCORES')[2]
if ahead then redis.call('ZADD', due, ahead + 1, pool) end
return 1

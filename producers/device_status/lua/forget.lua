-- Forget the incident that is past the retention for longest, if there is one. It goes at once, so that nobody sees half
-- of it; its commands and dead letters, of which there may be a million, are left to forgotten.lua.
-- ARGV: the caller's clock. Evidence goes only when both clocks say so.
-- Returns 1 where there was one.
local now = math.min(now_ms(), ARGV[1])
local id = redis.call('ZRANGE', PREFIX .. 'incidents:ended', '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if not id then
  return 0
end
local incident = PREFIX .. 'incident:' .. id
if redis.call('EXISTS', incident .. ':verify') == 1 then
  keep_for_retention(id, now)  -- It is being verified, however long that takes.
  return 1
end
local life, pool = unpack(redis.call('HMGET', incident, 'life', 'user_pool_id'))
for _, part in ipairs({':devices', ':letters'}) do
  if redis.call('EXISTS', incident .. part) == 1 then
    redis.call('RENAME', incident .. part, PREFIX .. 'forgotten:' .. life .. part)
  end
end
for _, part in ipairs(INCIDENT_PARTS) do redis.call('UNLINK', incident .. part) end
for _, set in ipairs({'incidents', 'incidents:active', 'incidents:ended', 'webhooks'}) do
  redis.call('ZREM', PREFIX .. set, id)
end
redis.call('RPUSH', PREFIX .. 'incidents:forgotten', life)
redis.call('ZREM', PREFIX .. 'incidents:of:' .. pool, id)
redis.call('ZADD', PREFIX .. 'fences:due', 0, pool)
return 1

-- Open an incident, or continue it.
-- KEYS: 1 incident:<id>
-- ARGV: id, pool, status, lane, reason, requested by, retention, '1' where all users of the pool are meant,
--       '1' where devices are only counted, the caller's clock, tolerance for clocks that run ahead
-- Returns {'opened'}; {'continued'}; {'cancelled'}; {'differs', field, what it is}: the incident is another.
local incident = KEYS[1]
local id, pool, status, lane, reason, requested_by, retention, all_users, counts_only = unpack(ARGV)
local now = issue_time(now_ms(), tonumber(ARGV[10]), tonumber(ARGV[11]))  -- Its commands are issued then.
local known = redis.call('HMGET', incident, 'user_pool_id', 'status', 'state', 'all_users', 'all_users_error',
  'opened_at')
local active = PREFIX .. 'incidents:active'

local function rank(opened_at)
  -- The order in which incidents are served: the urgent ones first, then by age.
  return lane == 'urgent' and opened_at - 1e13 or opened_at
end

if not known[1] then
  redis.call('HSET', incident, 'id', id, 'user_pool_id', pool, 'status', status, 'lane', lane, 'reason', reason,
    'requested_by', requested_by, 'state', 'running', 'opened_at', now, 'retention', retention, 'sealed', 0,
    'life', redis.call('INCR', PREFIX .. 'incidents:lives'),
    'users', 0, 'users_open', 0, 'devices', 0, 'open', 0, 'rank', rank(now))
  if counts_only == '1' then
    redis.call('HSET', incident, 'counts_only', 1)
    redis.call('EXPIRE', incident, PLAN_LIFE)
  else
    redis.call('ZADD', PREFIX .. 'incidents', now, id)
    redis.call('ZADD', PREFIX .. 'incidents:of:' .. pool, now, id)
  end
elseif known[1] ~= pool then
  return {'differs', 'user_pool_id', known[1]}
elseif known[2] ~= status then
  return {'differs', 'status', known[2]}
elseif known[3] == 'cancelled' then
  return {'cancelled'}
else
  -- What was forgotten the first time is taken now; what was said stands.
  for name, value in pairs({reason = reason, requested_by = requested_by}) do
    if redis.call('HGET', incident, name) == '' then redis.call('HSET', incident, name, value) end
  end
  if lane == 'urgent' then
    redis.call('HSET', incident, 'lane', lane, 'rank', rank(known[6]))
    redis.call('ZADD', active, 'XX', rank(known[6]), id)
  end
end
redis.call('HSET', incident, 'sealed', 0)
if all_users == '1' and (not known[4] or known[5]) then
  redis.call('HSET', incident, 'all_users', 'wanted', 'all_users_token', '')
  redis.call('HDEL', incident, 'all_users_error', 'all_users_restarts')
  redis.call('ZADD', active, redis.call('HGET', incident, 'rank'), id)
  keep_open(id)
end
return {known[1] and 'continued' or 'opened'}

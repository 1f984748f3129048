-- Lease the next listing to a worker: of a user's devices, or of a page of a pool's users.
-- ARGV: owner, lease, the worker's clock
-- Returns {} where there is none; {'devices', mode ('users' or 'verify'), incident id, username, attempts,
-- milliseconds since the first, pool, status, lane, opened at, '1' where devices are only counted, run of the
-- verification, '1' where the incident is about given devices, its life}; {'users', incident id, token, attempts,
-- milliseconds since the first, pool, lane}; {'walk', incident id}: see incident_walk.lua.
local owner, lease = ARGV[1], tonumber(ARGV[2])
local now, own = now_ms(), tonumber(ARGV[3])

local function lease_of(id, working, name)
  -- Returns the attempts made, and the age of the first; a lease that ran out counts as one.
  local known = redis.call('HGET', working, name)
  local lease_now = known and cjson.decode(known) or {attempts = 0, first_at = now, first_own = own}
  if lease_now.owner and lease_now.owner ~= '' then
    lease_now.attempts = lease_now.attempts + 1
  end
  lease_now.owner = owner
  redis.call('HSET', working, name, cjson.encode(lease_now))
  return lease_now.attempts, age_since(lease_now.first_at, lease_now.first_own, id, now, own)
end

for _, id in ipairs(redis.call('ZRANGE', PREFIX .. 'incidents:active', 0, 99)) do
  local incident = PREFIX .. 'incident:' .. id
  local known = redis.call('HMGET', incident, 'state', 'user_pool_id', 'status', 'lane', 'opened_at', 'counts_only',
    'walk', 'all_users', 'all_users_token', 'all_users_due', 'only_given', 'resting_until', 'life')
  if not known[1] or known[1] == 'paused' then
    redis.call('ZREM', PREFIX .. 'incidents:active', id)  -- Resumed, it comes back: see incident_state.lua.
  elseif known[7] then
    return {'walk', id}
  elseif (tonumber(known[12]) or 0) <= now then
    for _, mode in ipairs({'users', 'verify'}) do
      local waiting = incident .. ':' .. mode
      local username = redis.call('ZRANGE', waiting, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
      if username and mode == 'users' and known[1] == 'cancelled' then
        redis.call('HSET', incident, 'walk', redis.call('LLEN', incident .. ':devices'))
        return {'walk', id}
      elseif username then
        redis.call('ZADD', waiting, now + lease, username)
        local attempts, age = lease_of(id, incident .. (mode == 'users' and ':working' or ':verifying'), username)
        expire_plan(incident)
        return {'devices', mode, id, username, attempts, age, known[2], known[3], known[4], known[5],
          known[6] or '', redis.call('HGET', incident .. ':verification', 'run') or '0',
          known[11] or '', known[13]}
      end
    end
    if known[8] == 'wanted' and (tonumber(known[10]) or 0) <= now then
      redis.call('HSET', incident, 'all_users_due', now + lease)
      local attempts, age = lease_of(id, incident .. ':working', '')
      return {'users', id, known[9], attempts, age, known[2], known[4]}
    end
    if known[8] ~= 'wanted' and redis.call('EXISTS', incident .. ':users', incident .. ':verify') == 0 then
      redis.call('ZREM', PREFIX .. 'incidents:active', id)
    end
  end
end
return {}

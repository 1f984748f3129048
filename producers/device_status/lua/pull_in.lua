-- Pull in what lies further ahead of this server's clock than it can: the clock stepped back. Looks only at the highest
-- score of each set, and moves some.
-- ARGV: most to move in one set, retention, the worker's clock
-- Returns how many were moved.
local now, own = now_ms(), tonumber(ARGV[3])
local moved = 0

-- `most`: milliseconds that a member can be ahead; `wait`: returns how many it is to be ahead from now on (default 0), or
-- false to leave it.
local function pull_in(set, most, wait)
  for _, member in ipairs(redis.call('ZRANGE', set, '+inf', '(' .. now + most, 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[1])) do
    local ahead = not wait and 0 or wait(member)
    if ahead then
      redis.call('ZADD', set, now + ahead, member)
      moved = moved + 1
    end
  end
end

-- Whether a listing is in somebody's hands.
local function is_leased(working, name)
  local lease = redis.call('HGET', working, name)
  return lease and cjson.decode(lease).owner ~= ''
end

for _, lane in ipairs({'urgent', 'routine', 'bulk'}) do
  pull_in(PREFIX .. 'queued:' .. lane, 0)
  -- Left to its owner while a claim lasts; a retry is due.
  pull_in(PREFIX .. 'open:' .. lane, LONGEST, function(key) return left(PREFIX .. 'command:' .. key, 'lease_until', now, own) end)
end
for _, id in ipairs(redis.call('ZRANGE', PREFIX .. 'incidents:active', 0, 99)) do
  local incident = PREFIX .. 'incident:' .. id
  for mode, working in pairs({users = ':working', verify = ':verifying'}) do
    pull_in(incident .. ':' .. mode, LONGEST, function(username)
      return is_leased(incident .. working, username) and LONGEST or 0
    end)
  end
  local waits = redis.call('HMGET', incident, 'all_users_due', 'resting_until')
  if (tonumber(waits[1]) or 0) > now + LONGEST then
    redis.call('HSET', incident, 'all_users_due', now + (is_leased(incident .. ':working', '') and LONGEST or 0))
  end
  if (tonumber(waits[2]) or 0) > now + LONGEST then redis.call('HDEL', incident, 'resting_until') end
end
pull_in(PREFIX .. 'webhooks', LONGEST, function(id)
  return redis.call('HEXISTS', PREFIX .. 'incident:' .. id, 'webhook_tries') == 1 and LONGEST or 0
end)
pull_in(PREFIX .. 'incidents:ended', tonumber(ARGV[2]), function(id)
  -- Its own retention may be longer than this worker's.
  local retention = tonumber(redis.call('HGET', PREFIX .. 'incident:' .. id, 'retention') or 0)
  return redis.call('ZSCORE', PREFIX .. 'incidents:ended', id) - now > retention and retention
end)
pull_in(PREFIX .. 'dead', 0)
pull_in(PREFIX .. 'dead:aging', 0)
return moved

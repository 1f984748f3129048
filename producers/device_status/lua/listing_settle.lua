-- End the listing of one user's devices, or keep its lease.
-- ARGV: mode (users, verify), incident id, username, owner, what: `renew`, `retry`, or an outcome (expanded,
--       no_devices, dead_lettered; verified, gone, failed), devices found, 1 if this was an attempt else 0,
--       milliseconds until due, error code, error message, AWS request id, lease
-- Returns 'settled', 'lost' where the lease went to another, or for `renew` the incident's state.
local mode, id, username, owner, what = unpack(ARGV, 1, 5)
local devices, attempt, due_in = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local error_code, error_message, request_id, lease = ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[12])
local incident = PREFIX .. 'incident:' .. id
local waiting = incident .. ':' .. mode
local working = incident .. (mode == 'users' and ':working' or ':verifying')
local now = now_ms()
local known = redis.call('HGET', working, username)
local lease_now = known and cjson.decode(known)
if not lease_now or lease_now.owner ~= owner or redis.call('EXISTS', incident) == 0 then
  return 'lost'
end
lease_now.attempts = lease_now.attempts + attempt
if what == 'renew' then
  redis.call('ZADD', waiting, now + lease, username)
  return redis.call('HGET', incident, 'state')
elseif what == 'retry' then
  lease_now.owner = ''
  redis.call('HSET', working, username, cjson.encode(lease_now))
  redis.call('ZADD', waiting, now + due_in, username)
  rest_while_paused(incident, error_code, now + due_in)
elseif mode == 'users' then
  finish_user(id, username, {
    outcome = what, devices = devices, attempts = lease_now.attempts, error_code = error_code,
    error_message = error_message, request_id = request_id,
  }, now)
  if redis.call('HEXISTS', incident, 'counts_only') == 1 then
    redis.call('HINCRBY', incident, 'devices', devices)
  elseif what == 'dead_lettered' then
    bury('user:' .. redis.sha1hex(id .. '\n' .. username), error_code, now, {
      'kind', 'user', 'username', username, 'attempts', lease_now.attempts,
      'first_at', lease_now.first_at, 'error_message', error_message, 'request_id', request_id,
    }, {id = id, life = redis.call('HGET', incident, 'life')})
  end
  end_if_done(id, now)
else
  redis.call('ZREM', waiting, username)
  redis.call('HDEL', working, username)
  local verification = incident .. ':verification'
  redis.call('HINCRBY', verification, 'users_open', -1)
  local before = cjson.decode(redis.call('HGET', incident .. ':outcomes', username) or '{}')
  if what == 'gone' then
    -- Nothing is known of the devices of a user who could not be listed before either.
    local is_known = before.outcome == 'expanded' or before.outcome == 'no_devices'
    what = is_known and 'verified' or 'failed'
  end
  if what == 'failed' then
    redis.call('HINCRBY', verification, 'users_failed', 1)
    redis.call('SADD', incident .. ':unverified', username)
    redis.call('HINCRBY', verification, 'unseen', math.max(0, (before.devices or 0) - (lease_now.seen or 0)))
    redis.call('RPUSH', incident .. ':findings', cjson.encode({
      username = username, finding = 'not_verified', error_code = error_code, error_message = error_message,
    }))
  end
  end_verification_if_done(id, now)
  keep_for_retention(id, now)
end
return 'settled'

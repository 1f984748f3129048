-- Begin a verification of an incident; what an earlier one found is forgotten. Its users follow by verify_users.lua.
-- ARGV: id
-- Returns {'started', run}; {'unknown'}; {'running'}: the incident has not ended.
local incident = PREFIX .. 'incident:' .. ARGV[1]
local known = redis.call('HMGET', incident, 'id', 'ended_at', 'life')
if not known[1] then
  return {'unknown'}
elseif not known[2] then
  return {'running'}
end
-- With the incident, not with the verification, and with its life: who still lists for one that was forgotten must
-- not meet its number.
local run = known[3] .. '.' .. redis.call('HINCRBY', incident, 'verification_run', 1)
forget_verification(ARGV[1])
redis.call('HSET', incident .. ':verification', 'run', run, 'started_at', now_ms(), 'sealed', 0, 'users', 0,
  'users_open', 0, 'users_failed', 0, 'seen', 0, 'as_ordered', 0, 'not_as_ordered', 0, 'new', 0, 'new_not_as_ordered', 0)
keep_for_retention(ARGV[1], now_ms())
return {'started', run}

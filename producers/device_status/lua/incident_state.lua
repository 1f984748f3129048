-- Pause, resume or cancel an incident.
-- ARGV: id, new state (paused, running, cancelled)
-- Returns {'changed'}; {'unknown'}; {'ended', state}: it has ended, or was cancelled: nothing changes any more.
local incident, state = PREFIX .. 'incident:' .. ARGV[1], ARGV[2]
local known = redis.call('HMGET', incident, 'state', 'ended_at', 'sealed')
if not known[1] then
  return {'unknown'}
elseif known[2] or known[1] == 'cancelled' then
  return {'ended', known[1]}
end
redis.call('HSET', incident, 'state', state)
if state == 'paused' then
  redis.call('HDEL', incident, 'walk')
  return {'changed'}
end
if state == 'running' and known[1] == 'paused' then redis.call('HSET', incident, 'resumed_at', now_ms()) end
-- What is held is let go, or cancelled, piece by piece: see incident_walk.lua.
redis.call('HSET', incident, 'walk', 0)
redis.call('ZADD', PREFIX .. 'incidents:active', redis.call('HGET', incident, 'rank'), ARGV[1])
if state == 'cancelled' then
  -- Who was still to be named will never be.
  if known[3] ~= '1' then redis.call('HSET', incident, 'input_cut', 1) end
  redis.call('HSET', incident, 'sealed', 1)
  redis.call('HDEL', incident, 'all_users')
end
return {'changed'}

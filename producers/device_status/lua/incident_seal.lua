-- The input of an incident is complete.
-- ARGV: id, how many of its lines were refused
local incident = PREFIX .. 'incident:' .. ARGV[1]
if redis.call('EXISTS', incident) == 0 then
  return
end
redis.call('HSET', incident, 'refused', ARGV[2])
-- The users of a whole pool are still to come: the worker that reads the last page seals it.
if redis.call('HGET', incident, 'all_users') ~= 'wanted' then
  redis.call('HSET', incident, 'sealed', 1)
  end_if_done(ARGV[1], now_ms())
end

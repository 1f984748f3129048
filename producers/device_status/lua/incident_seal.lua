-- The input of an incident is complete.
-- ARGV: id
local incident = PREFIX .. 'incident:' .. ARGV[1]
-- The users of a whole pool are still to come: the worker that reads the last page seals it.
if redis.call('EXISTS', incident) == 1 and redis.call('HGET', incident, 'all_users') ~= 'wanted' then
  redis.call('HSET', incident, 'sealed', 1)
  end_if_done(ARGV[1], now_ms())
end

-- Add users to an incident.
-- ARGV: id, '1' where their devices are given and not listed, usernames...
-- Returns how many of them are new to it; -1 where there is no such incident, or it was cancelled.
local id, given = ARGV[1], ARGV[2] == '1'
local state = redis.call('HGET', PREFIX .. 'incident:' .. id, 'state')
if not state or state == 'cancelled' then
  return -1
end
if given then
  redis.call('HSETNX', PREFIX .. 'incident:' .. id, 'only_given', 1)
end
return add_users(id, ARGV, 3, given, now_ms())

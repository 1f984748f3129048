-- Users of an incident whose devices are to be listed again.
-- ARGV: id, run, '1' where these are the last, usernames...
-- Returns 1, or 0 where another verification was begun meanwhile.
local id, run = ARGV[1], ARGV[2]
local incident = PREFIX .. 'incident:' .. id
local verification = incident .. ':verification'
if redis.call('HGET', verification, 'run') ~= run then
  return 0
end
local now = now_ms()
for i = 4, #ARGV do
  if redis.call('ZADD', incident .. ':verify', 'NX', now, ARGV[i]) == 1 then
    redis.call('HINCRBY', verification, 'users', 1)
    redis.call('HINCRBY', verification, 'users_open', 1)
  end
end
redis.call('ZADD', PREFIX .. 'incidents:active', redis.call('HGET', incident, 'rank'), id)
if ARGV[3] == '1' then
  redis.call('HSET', verification, 'sealed', 1)
  end_verification_if_done(id, now)
end
keep_for_retention(id, now)
return 1

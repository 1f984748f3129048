-- A page of a pool's users was read for an incident, or failed.
-- ARGV: incident id, owner, what (`page`, `retry`, `restart` from the first page, `failed`), next token or '',
--       1 if this was an attempt else 0, milliseconds until due (retry), error code; then usernames...
-- Returns 'settled', or 'lost' where the lease went to another.
local id, owner, what, token = unpack(ARGV, 1, 4)
local attempt, due_in, error_code = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local incident = PREFIX .. 'incident:' .. id
local now = now_ms()
local known = redis.call('HGET', incident .. ':working', '')
local lease_now = known and cjson.decode(known)
if not lease_now or lease_now.owner ~= owner or redis.call('HGET', incident, 'all_users') ~= 'wanted' then
  return 'lost'
end
if what == 'retry' then
  lease_now.owner, lease_now.attempts = '', lease_now.attempts + attempt
  redis.call('HSET', incident .. ':working', '', cjson.encode(lease_now))
  redis.call('HSET', incident, 'all_users_due', now + due_in)
  rest_while_paused(incident, error_code, now + due_in)
  return 'settled'
end
redis.call('HDEL', incident .. ':working', '')
-- A first page again and again is no way forward.
if what == 'restart' and redis.call('HINCRBY', incident, 'all_users_restarts', 1) > 5 then
  what = 'failed'
end
redis.call('HSET', incident, 'all_users_due', 0, 'all_users_token', token)
add_users(id, ARGV, 8, false, now)
if what == 'failed' then
  redis.call('HSET', incident, 'all_users_error', error_code)
end
if what == 'failed' or (what == 'page' and token == '') then
  redis.call('HSET', incident, 'all_users', 'done', 'sealed', 1)
  end_if_done(id, now)
end
return 'settled'

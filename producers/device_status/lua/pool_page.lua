-- A page of a pool's users was read for an incident, or failed.
-- ARGV: incident id, owner, what (`page`, `retry`, `restart` from the first page, `failed`), next token or '',
--       1 if this was an attempt else 0, milliseconds until due (retry), error code; then usernames...
-- Returns 'settled'; 'lost' where the lease went to another; 'endless' where the listing was ended since it would not.
local id, owner, what, token = unpack(ARGV, 1, 4)
local attempt, due_in, error_code = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local incident = PREFIX .. 'incident:' .. id
local now = now_ms()
local known = redis.call('HGET', incident .. ':working', '')
local lease_now = known and cjson.decode(known)
if not lease_now or lease_now.owner ~= owner or redis.call('HGET', incident, 'all_users') ~= 'wanted' then
  return 'lost'
end

-- Whether this page shows that there would be no last one. What is known of the listing since its first page is kept
-- here, since each page may be another worker's, and in a few numbers, since a pool may have millions of users.
local function is_endless()
  local pass, count = incident .. ':pass', #ARGV - 7
  local known = redis.call('HMGET', pass, 'token', 'steps', 'power')
  -- Brent: one token is remembered, for twice as many pages each time; a circle of any length comes by it.
  local digest, steps, power = redis.sha1hex(token), (known[2] or 0) + 1, tonumber(known[3] or 1)
  if digest == known[1] then
    return true
  elseif steps == power then
    redis.call('HSET', pass, 'token', digest, 'steps', 0, 'power', 2 * power)
  else
    redis.call('HSET', pass, 'steps', steps)
  end
  local empty = redis.call('HINCRBY', pass, 'empty', 1)
  if count > 0 then redis.call('HSET', pass, 'empty', 0) end
  -- A pool has no user twice: who was seen can't be more than the incident has. Ten pages are allowed for, since
  -- users come and go meanwhile.
  local seen = redis.call('HINCRBY', pass, 'seen', count)
  return empty == 10 and count == 0 or seen > redis.call('HGET', incident, 'users') + 600
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
local endless = what == 'page' and token ~= '' and is_endless()
if what == 'failed' or endless then
  redis.call('HSET', incident, 'all_users_error', endless and 'EndlessListing' or error_code)
end
if what == 'failed' or endless or (what == 'page' and token == '') then
  redis.call('HSET', incident, 'all_users', 'done', 'sealed', 1)
  end_if_done(id, now)
end
if what ~= 'page' or token == '' or endless then redis.call('DEL', incident .. ':pass') end
return endless and 'endless' or 'settled'

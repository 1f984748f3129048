-- Go on through the commands of an incident that was resumed (let go what was held) or cancelled (give what
-- nobody has claimed its outcome).
-- ARGV: id, how many commands to look at, retention, the caller's clock
-- Returns 1 where there is more to do.
local id, most, retention = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local incident = PREFIX .. 'incident:' .. id
local known = redis.call('HMGET', incident, 'walk', 'state')
if not known[1] then
  return 0
end
local now, own, first = now_ms(), tonumber(ARGV[4]), tonumber(known[1])
local keys = redis.call('LRANGE', incident .. ':devices', first, first + most - 1)
for _, key in ipairs(keys) do
  local entry = PREFIX .. 'command:' .. key
  local command = redis.call('HMGET', entry, 'state', 'held', 'lane', 'applied')
  if known[2] == 'running' then
    if command[2] and command[1] == 'retry_wait' then
      redis.call('HDEL', entry, 'held')
      redis.call('ZADD', PREFIX .. 'open:' .. command[3], now, key)
    end
  -- What was applied already and waits to be applied again must not be left half-way (see settle.lua).
  elseif not command[4] and (command[1] == 'queued' or command[1] == 'retry_wait'
      or (command[1] == 'claimed' and left(entry, 'lease_until', now, own) == 0)) then
    finish(entry, key, 'cancelled', now, retention)
  end
end
if known[2] == 'cancelled' then
  for _, username in ipairs(redis.call('ZRANGE', incident .. ':users', '-inf', now, 'BYSCORE', 'LIMIT', 0, most)) do
    finish_user(id, username, {outcome = 'cancelled'}, now)
  end
  end_if_done(id, now)
end
if #keys == most or redis.call('ZCOUNT', incident .. ':users', '-inf', now) > 0 and known[2] == 'cancelled' then
  redis.call('HSET', incident, 'walk', first + #keys)
  return 1
end
redis.call('HDEL', incident, 'walk')
return 0

-- End a claim, for its owner alone.
-- KEYS: 1 command:<idempotency key>, 2 device:<hash>
-- ARGV: idempotency key, owner, new state (succeeded, dead_lettered or retry_wait), order, retention,
--       1 if this was an attempt else 0, milliseconds until due (retry_wait), error code, error message,
--       AWS request id
-- Returns 'settled', also when the same owner says it again; 'lost' where the claim is no longer its own.
local entry, device = KEYS[1], KEYS[2]
local key, owner, state, order = unpack(ARGV, 1, 4)
local retention, attempt, due_in = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local error_code, error_message, request_id = unpack(ARGV, 8, 10)
local known = redis.call('HMGET', entry, 'state', 'owner', 'settled_by')
if known[3] == owner then
  return 'settled'  -- The reply to the first time was lost on its way.
elseif known[1] ~= 'claimed' or known[2] ~= owner then
  return 'lost'
end
local now = now_ms()

redis.call('HSET', entry, 'settled_by', owner)
if attempt == 1 then
  redis.call('HINCRBY', entry, 'attempts', 1)
  redis.call('HSETNX', entry, 'first_attempt_at', now)
end
if redis.call('HGET', device, 'owner') == owner then
  redis.call('HDEL', device, 'owner', 'lease_until')
end

if state == 'succeeded' then
  redis.call('HSET', entry, 'request_id', request_id)
  redis.call('HDEL', entry, 'error_code', 'error_message')
  finish(entry, key, state, now, retention)
  local fence = redis.call('HGET', device, 'applied_at')
  if not fence or tonumber(order) > tonumber(fence) then
    redis.call('HSET', device, 'applied_at', order)
  end
  -- Longer than any older command is still accepted, clocks that run ahead included.
  redis.call('PEXPIRE', device, retention + 600000)
elseif state == 'dead_lettered' then
  finish_dead(entry, key, error_code, error_message, request_id, now, retention)
else
  redis.call('HSET', entry, 'error_code', error_code, 'error_message', error_message, 'request_id', request_id)
  wait_until(entry, key, now + due_in)
end
return 'settled'

-- End a claim, for its owner alone.
-- KEYS: 1 command:<idempotency key>, 2 device:<hash>
-- ARGV: idempotency key, owner, new state (succeeded, dead_lettered or retry_wait), order, retention,
--       1 if this was an attempt else 0, milliseconds until due (retry_wait), error code, error message,
--       AWS request id, milliseconds for which a request in doubt may still take effect, user pool,
--       the worker's clock
-- Returns {'settled'}, also when the same owner says it again; {'lost'} where the claim went to
-- another; {'again', milliseconds}: it succeeded, but a late request may undo it, so it is retried after that.
local entry, device = KEYS[1], KEYS[2]
local key, owner, state, order = unpack(ARGV, 1, 4)
local retention, attempt, due_in = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now, own = now_ms(), tonumber(ARGV[13])
local error_code, error_message, request_id, late, pool = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11]), ARGV[12]
local known = redis.call('HMGET', entry, 'state', 'owner', 'settled_by')
if known[3] == owner then
  return {'settled'}  -- The reply to the first time was lost on its way.
elseif known[1] ~= 'claimed' or known[2] ~= owner or redis.call('HGET', device, 'owner') ~= owner then
  return {'lost'}  -- The lease ran out, and the command or its device went to another.
end

redis.call('HSET', entry, 'settled_by', owner)
if attempt == 1 then
  count_attempt(entry, now, own)
end
redis.call('HDEL', device, 'owner', 'lease_until', 'lease_until_own')
if late > 0 then
  suspect(device, order, now, own, late)
end

if state == 'succeeded' then
  redis.call('HSET', entry, 'request_id', request_id)
  raise_fence(device, order, key, retention, pool, now)
  local doubt = left(device, 'suspect_until', now, own)
  if doubt > 0 and redis.call('HGET', device, 'suspect_order') ~= order then
    redis.call('HSET', entry, 'error_code', 'MayBeUndone', 'error_message', 'a late request may undo it')
    mark_applied(entry)
    wait_until(entry, key, now + doubt)
    return {'again', doubt}
  end
  finish(entry, key, state, now, retention)
elseif state == 'dead_lettered' then
  finish_dead(entry, key, error_code, error_message, request_id, now, retention)
else
  redis.call('HSET', entry, 'error_code', error_code, 'error_message', error_message, 'request_id', request_id)
  wait_until(entry, key, now + due_in)
end
return {'settled'}

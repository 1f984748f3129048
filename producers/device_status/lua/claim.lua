-- Lease a command and its device to one owner, or say why not.
-- KEYS: 1 command:<idempotency key>, 2 device:<hash>
-- ARGV: idempotency key, command id, fingerprint, command as JSON, lane, order, issued at, expires at
--       or '', owner, lease, retention, tolerance for clocks that run ahead, delay for a busy device, the worker's
--       clock. What ends a command for good by time is said by both clocks, or it does not end.
-- Returns {'claimed', attempts, milliseconds since the first attempt or 0}; {'done', outcome, error code
-- or ''}: it had or now has this outcome; {'busy'}: a live owner has it; {'device_busy'}: it waits for
-- another command of its device; {'clocks_apart', milliseconds}: for this server, and not for the worker, it is so old
-- that its fence may be gone, so it waits; {'held'}: it waits for its incident to be resumed; {'conflict'} or {'reserved'}:
-- see refuse; {'known_as', command as JSON}: it repeats this command, whose times are the ones that count: claim
-- that instead.
local entry, device = KEYS[1], KEYS[2]
local key, command_id, fingerprint, command, lane, order = unpack(ARGV, 1, 6)
local issued_at, expires_at, owner = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local lease, retention, ahead, device_delay = unpack(ARGV, 10, 13)
lease, retention = tonumber(lease), tonumber(retention)
local now, own = now_ms(), tonumber(ARGV[14])

if redis.call('EXISTS', entry) == 0 then
  if is_reserved(key) or is_reserved(command_id) then
    return {refuse(key, command_id, fingerprint, command, lane, now, retention)}
  end
  enter(entry, key, command_id, fingerprint, command, lane, now)
  if command_id ~= key then alias(command_id, 'command:' .. key, retention) end
end
local known = redis.call('HMGET', entry, 'fingerprint', 'state', 'owner', 'command', 'error_code', 'repair', 'applied')
local state, live = known[2], left(entry, 'lease_until', now, own) > 0
if known[1] ~= fingerprint then
  return {refuse(key, command_id, fingerprint, command, lane, now, retention)}
elseif known[4] ~= command then
  return {'known_as', known[4]}
elseif state ~= 'queued' and state ~= 'retry_wait' and state ~= 'claimed' then
  return {'done', state, state == 'dead_lettered' and known[5] or ''}
elseif state == 'claimed' and live and known[3] ~= owner then
  return {'busy'}
end

if state == 'claimed' and not live then
  -- Its last owner died or hung with it: that was an attempt, or a command that kills workers would loop.
  count_attempt(entry, redis.call('HGET', entry, 'lease_until'), own)
end
-- What was applied already must not be left half-way: one that waits to be applied again (see settle.lua), and a
-- repair (see late.lua).
local is_half_way = known[6] or known[7]
local incident = incident_of(entry)
if incident and incident.state == 'cancelled' and not is_half_way then
  finish(entry, key, 'cancelled', now, retention)
  return {'done', 'cancelled', ''}
elseif incident and incident.state == 'paused' and not is_half_way then
  hold(entry, key)
  return {'held'}
end
local holder = redis.call('HMGET', device, 'applied_at', 'owner')
if expires_at and expires_at <= math.min(now, own) and not is_half_way then
  finish(entry, key, 'expired', now, retention)
  return {'done', 'expired', ''}
elseif issued_at > math.max(now, own) + tonumber(ahead) then
  finish_dead(entry, key, 'IssuedInFuture', 'issued_at lies too far ahead of the clock', '', now, retention)
  return {'done', 'dead_lettered', 'IssuedInFuture'}
elseif issued_at < now - retention and not incident and not (is_half_way and holder[1]) then
  -- By now the fence of a newer command may be gone; not so for an incident and for what was applied: see raise_fence.
  if issued_at >= own - retention then
    wait_until(entry, key, now + LONGEST)
    return {'clocks_apart', LONGEST}
  end
  finish_dead(entry, key, 'TooOld', 'issued_at lies further back than the retention', '', now, retention)
  return {'done', 'dead_lettered', 'TooOld'}
end
if holder[1] and tonumber(order) < tonumber(holder[1]) then
  finish(entry, key, 'superseded', now, retention)
  return {'done', 'superseded', ''}
elseif holder[2] and holder[2] ~= owner and holder[2] ~= known[3] and left(device, 'lease_until', now, own) > 0 then
  wait_until(entry, key, now + tonumber(device_delay))
  return {'device_busy'}
end

redis.call('HSET', entry, 'state', 'claimed', 'owner', owner)
set_limit(entry, 'lease_until', now, own, lease)
redis.call('HDEL', entry, 'held')
redis.call('HSET', device, 'owner', owner)
set_limit(device, 'lease_until', now, own, lease)
keep_device(device)
close(entry, key)
redis.call('ZADD', PREFIX .. 'open:' .. redis.call('HGET', entry, 'lane'), now + lease, key)
local first = redis.call('HMGET', entry, 'first_attempt_at', 'first_attempt_own', 'attempts')
local age = first[1] and age_since(first[1], first[2], incident and incident.id, now, own) or 0
return {'claimed', first[3] - (known[7] or 0), age}

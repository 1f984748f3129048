-- Shared by every script of the ledger: ledger.py puts it in front of each, after prelude_incident.lua.
-- Ranks of commands (`order`, the fence) exceed what Lua prints exactly, so they are compared as numbers but
-- stored as the text they came as.

-- Remove a dead letter and its count; the inverse of bury.
local function exhume(id)
  local letter = PREFIX .. 'dead-letter:' .. id
  local error_code = redis.call('HGET', letter, 'error_code')
  local incident = incident_of(letter)
  if incident then redis.call('SREM', PREFIX .. 'incident:' .. incident.id .. ':letters', id) end
  redis.call('DEL', letter)
  redis.call('ZREM', PREFIX .. 'dead', id)
  redis.call('ZREM', PREFIX .. 'dead:aging', id)
  if error_code and redis.call('HINCRBY', PREFIX .. 'dead:by-error', error_code, -1) <= 0 then
    redis.call('HDEL', PREFIX .. 'dead:by-error', error_code)
  end
end

-- Put a dead letter on record, once: the same id again changes nothing, unless it is of an earlier life of the
-- incident. `fields` as HSET takes them, `incident` as incident_of returns it.
-- It carries no expiry: purge.lua removes it and its count together once it is past the retention; that of an incident
-- stays as long as the incident (forgotten.lua).
local function bury(id, error_code, now, fields, incident)
  local letter = PREFIX .. 'dead-letter:' .. id
  local life = incident and incident.life or ''
  local known = redis.call('HMGET', letter, 'error_code', 'life')
  if known[1] and (known[2] or '') == life then
    return
  elseif known[1] then
    exhume(id)
  end
  redis.call('HSET', letter, 'id', id, 'error_code', error_code, 'last_at', now, 'life', life,
    'incident', incident and incident.id or '', unpack(fields))
  redis.call('ZADD', PREFIX .. 'dead', now, id)
  if incident then
    redis.call('SADD', PREFIX .. 'incident:' .. incident.id .. ':letters', id)
  else
    redis.call('ZADD', PREFIX .. 'dead:aging', now, id)
  end
  redis.call('HINCRBY', PREFIX .. 'dead:by-error', error_code, 1)
end

-- Take the entry out of both of its lane's sets.
local function close(entry, key)
  local lane = redis.call('HGET', entry, 'lane')
  redis.call('ZREM', PREFIX .. 'open:' .. lane, key)
  redis.call('ZREM', PREFIX .. 'queued:' .. lane, key)
end

-- Take the entry away, with its dead letter, as though it had never been.
local function drop(entry, key)
  if redis.call('EXISTS', entry) == 1 then
    close(entry, key)
    redis.call('DEL', entry)
    exhume(key)
  end
end

-- Give the entry its outcome; from here on only a redrive by hand changes it.
local function finish(entry, key, outcome, now, retention)
  redis.call('HSET', entry, 'state', outcome, 'finished_at', now)
  redis.call('HDEL', entry, 'lease_until', 'lease_until_own')
  if outcome == 'succeeded' or outcome == 'superseded' then
    -- Of attempts that failed before. Where nothing followed them, they may say that a request is in doubt.
    redis.call('HDEL', entry, 'error_code', 'error_message')
  end
  local incident = incident_of(entry)
  -- What an incident ordered is its evidence and stays as long as the incident: forgotten.lua takes it away.
  if not incident or redis.call('HEXISTS', entry, 'repair') == 1 then redis.call('PEXPIRE', entry, retention) end
  close(entry, key)
  if incident then tell_incident(entry, incident.id, outcome, now) end
end

-- The outcome `dead_lettered`, with its dead letter.
local function finish_dead(entry, key, error_code, error_message, request_id, now, retention)
  redis.call('HSET', entry, 'error_code', error_code, 'error_message', error_message, 'request_id', request_id)
  local known = redis.call('HMGET', entry, 'command_id', 'command', 'lane', 'attempts', 'entered_at', 'fingerprint',
    'repair')
  local incident = incident_of(entry)
  finish(entry, key, 'dead_lettered', now, retention)
  bury(key, error_code, now, {
    'kind', 'command', 'key', key, 'command_id', known[1], 'command', known[2], 'lane', known[3],
    'attempts', known[4], 'first_at', known[5], 'fingerprint', known[6], 'error_message', error_message,
    'request_id', request_id, 'repair', known[7] or '',
  }, incident)
end

-- Back to waiting: the sweeper publishes it once `due` is past.
local function wait_until(entry, key, due)
  local lane = redis.call('HGET', entry, 'lane')
  redis.call('HSET', entry, 'state', 'retry_wait')
  redis.call('HDEL', entry, 'owner', 'lease_until', 'lease_until_own')
  redis.call('ZREM', PREFIX .. 'queued:' .. lane, key)
  redis.call('ZADD', PREFIX .. 'open:' .. lane, due, key)
end

-- Its message is published now, behind all that is queued.
local function queue_again(entry, key, lane, now)
  redis.call('HSET', entry, 'queued_at', now)
  redis.call('ZREM', PREFIX .. 'open:' .. lane, key)
  redis.call('ZADD', PREFIX .. 'queued:' .. lane, now, key)
end

-- Its incident is paused: it waits, in no lane, until incident_walk.lua lets it go.
local function hold(entry, key)
  redis.call('HSET', entry, 'state', 'retry_wait', 'held', 1)
  redis.call('HDEL', entry, 'owner', 'lease_until', 'lease_until_own')
  close(entry, key)
end

-- Write a new entry in the state `queued`.
local function enter(entry, key, command_id, fingerprint, command, lane, now)
  redis.call('HSET', entry, 'command_id', command_id, 'fingerprint', fingerprint, 'command', command,
    'lane', lane, 'state', 'queued', 'attempts', 0, 'entered_at', now, 'queued_at', now)
  redis.call('ZADD', PREFIX .. 'queued:' .. lane, now, key)
end

-- The state of a command that is entered once more. `queued` means that the caller publishes it again, behind all
-- that is queued now: its message may be lost. A claim whose lease is over waits for a message as well; the next
-- claim counts the attempt.
local function enter_again(entry, key, now)
  local known = redis.call('HMGET', entry, 'state', 'lane', 'lease_until')
  if known[1] == 'queued' or (known[1] == 'claimed' and tonumber(known[3]) <= now) then
    queue_again(entry, key, known[2], now)
    return 'queued'
  end
  return known[1]
end

-- It was applied, and must be applied once more: until its end it is `half-way`, whatever comes between, and its attempts
-- count anew.
local function mark_applied(entry)
  redis.call('HSET', entry, 'applied', redis.call('HGET', entry, 'attempts'))
  redis.call('HDEL', entry, 'first_attempt_at', 'first_attempt_own')
end

-- An attempt was made: the first is remembered, on both clocks.
local function count_attempt(entry, at, own)
  redis.call('HINCRBY', entry, 'attempts', 1)
  redis.call('HSETNX', entry, 'first_attempt_at', at)
  redis.call('HSETNX', entry, 'first_attempt_own', own)
end

-- How long a fence is kept: longer than any older command is accepted, clocks that run ahead included, even if the
-- server's clock, which ends it, goes forward by a seventh of the retention.
local function fence_life(retention)
  return retention + math.floor(retention / 7) + FENCE_EXTRA
end

-- Let the device's fence rise to this order, and stay for longer than any older command is accepted: those of older
-- incidents of its pool included, which are accepted for as long as these are kept.
-- A fence that one of them needs has no expiry; release_fences.lua gives it one when they are forgotten.
local function raise_fence(device, order, key, retention, pool, now)
  local fence = redis.call('HGET', device, 'applied_at')
  if not fence or tonumber(order) > tonumber(fence) then
    redis.call('HSET', device, 'applied_at', order, 'applied_key', key)
    fence = order
  end
  local issued_at = math.floor(tonumber(fence) / 2000)  -- See `order` in command.py.
  local oldest = redis.call('ZRANGE', PREFIX .. 'incidents:of:' .. pool, 0, 0, 'WITHSCORES')[2]
  -- An incident may still be opened that is older than a command issued ahead of the clock.
  if issued_at >= now or oldest and tonumber(fence) > 2000 * oldest + 1 then
    redis.call('PERSIST', device)
    redis.call('ZADD', PREFIX .. 'fences:' .. pool, issued_at, device)
    if not oldest then redis.call('ZADD', PREFIX .. 'fences:due', 'LT', issued_at, pool) end
  else
    redis.call('PEXPIRE', device, fence_life(retention))
  end
end

-- The device's record is needed for a while; a fence that stays for an incident has no expiry, and keeps none.
local function keep_device(device)
  local life = redis.call('PTTL', device)
  if life < DEVICE_LIFE and (life ~= -1 or redis.call('HEXISTS', device, 'applied_at') == 0) then
    redis.call('PEXPIRE', device, DEVICE_LIFE)
  end
end

-- Until then a request of the command with this order may still take effect, after those that follow it.
local function suspect(device, order, now, own, milliseconds)
  local doubt = left(device, 'suspect_until', now, own)
  local is_other = doubt > 0 and redis.call('HGET', device, 'suspect_order') ~= order
  set_limit(device, 'suspect_until', now, own, math.max(milliseconds, doubt))
  redis.call('HSET', device, 'suspect_order', is_other and 'several' or order)
  keep_device(device)
end

-- Let look-ups by command id find what stands under another name. A command is refused once it is
-- older than the retention, so twice that outlives every entry.
local function alias(command_id, target, retention)
  redis.call('SET', PREFIX .. 'id:' .. command_id, target, 'NX', 'PX', 2 * retention)
end

-- Whether an id is of the form that only incidents (members.lua) and repairs (late.lua) give their commands:
-- else whoever took it first could have a command of an incident taken for done.
local function is_reserved(name)
  return string.find(name, '^incident:') or string.find(name, '^repair:') or string.find(name, '^user:')
end

-- A command whose id or key is not its own: it becomes a dead letter and never an entry. Returns 'reserved', or
-- 'conflict' where the key stands for other content.
local function refuse(key, command_id, fingerprint, command, lane, now, retention)
  local id = redis.sha1hex(key .. command_id .. fingerprint)
  local reserved = is_reserved(key) or is_reserved(command_id)
  bury(id, reserved and 'ReservedId' or 'IdempotencyConflict', now, {
    'kind', 'command', 'key', key, 'command_id', command_id, 'command', command, 'lane', lane, 'attempts', 0,
    'first_at', now, 'request_id', '', 'error_message',
    reserved and 'command_id or idempotency_key begins with incident:, repair: or user:, which are reserved'
      or 'another command with other content holds this idempotency key',
  })
  if not is_reserved(command_id) then alias(command_id, 'dead-letter:' .. id, retention) end
  return reserved and 'reserved' or 'conflict'
end

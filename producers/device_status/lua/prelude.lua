-- Shared by every script of the ledger: ledger.py puts it in front of each, after prelude_incident.lua.
-- Ranks of commands (`order`, the fence) exceed what Lua prints exactly, so they are compared as numbers but
-- stored as the text they came as.

-- Put a dead letter on record, once: the same id again changes nothing. `fields` as HSET takes them.
-- It carries no expiry: purge.lua removes it and its count together.
local function bury(id, error_code, now, fields)
  local letter = PREFIX .. 'dead-letter:' .. id
  if redis.call('EXISTS', letter) == 1 then
    return
  end
  redis.call('HSET', letter, 'id', id, 'error_code', error_code, 'last_at', now, unpack(fields))
  redis.call('ZADD', PREFIX .. 'dead', now, id)
  redis.call('HINCRBY', PREFIX .. 'dead:by-error', error_code, 1)
end

-- Remove a dead letter and its count; the inverse of bury.
local function exhume(id)
  local letter = PREFIX .. 'dead-letter:' .. id
  local error_code = redis.call('HGET', letter, 'error_code')
  redis.call('DEL', letter)
  redis.call('ZREM', PREFIX .. 'dead', id)
  if error_code and redis.call('HINCRBY', PREFIX .. 'dead:by-error', error_code, -1) <= 0 then
    redis.call('HDEL', PREFIX .. 'dead:by-error', error_code)
  end
end

-- Take the entry out of both of its lane's sets.
local function close(entry, key)
  local lane = redis.call('HGET', entry, 'lane')
  redis.call('ZREM', PREFIX .. 'open:' .. lane, key)
  redis.call('ZREM', PREFIX .. 'queued:' .. lane, key)
end

-- Give the entry its outcome; from here on only a redrive by hand changes it.
local function finish(entry, key, outcome, now, retention)
  redis.call('HSET', entry, 'state', outcome, 'finished_at', now)
  redis.call('HDEL', entry, 'lease_until')
  if outcome ~= 'dead_lettered' then
    redis.call('HDEL', entry, 'error_code', 'error_message')  -- Of attempts that failed before.
  end
  redis.call('PEXPIRE', entry, retention)
  close(entry, key)
  tell_incident(entry, outcome, now)
end

-- The outcome `dead_lettered`, with its dead letter.
local function finish_dead(entry, key, error_code, error_message, request_id, now, retention)
  redis.call('HSET', entry, 'error_code', error_code, 'error_message', error_message, 'request_id', request_id)
  local known = redis.call('HMGET', entry, 'command_id', 'command', 'lane', 'attempts', 'entered_at', 'fingerprint',
    'incident', 'repair')
  finish(entry, key, 'dead_lettered', now, retention)
  bury(key, error_code, now, {
    'kind', 'command', 'key', key, 'command_id', known[1], 'command', known[2], 'lane', known[3],
    'attempts', known[4], 'first_at', known[5], 'fingerprint', known[6], 'error_message', error_message,
    'request_id', request_id, 'incident', known[7] or '', 'repair', known[8] or '',
  })
end

-- Back to waiting: the sweeper publishes it once `due` is past.
local function wait_until(entry, key, due)
  local lane = redis.call('HGET', entry, 'lane')
  redis.call('HSET', entry, 'state', 'retry_wait')
  redis.call('HDEL', entry, 'owner', 'lease_until')
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
  redis.call('HDEL', entry, 'owner', 'lease_until')
  close(entry, key)
end

-- Write a new entry in the state `queued`; `role` in its incident: see join_incident, default: 'member'.
local function enter(entry, key, command_id, fingerprint, command, lane, now, role)
  redis.call('HSET', entry, 'command_id', command_id, 'fingerprint', fingerprint, 'command', command,
    'lane', lane, 'state', 'queued', 'attempts', 0, 'entered_at', now, 'queued_at', now)
  redis.call('ZADD', PREFIX .. 'queued:' .. lane, now, key)
  join_incident(entry, key, command, role or 'member')
end

-- Let the device's fence rise to this order.
local function raise_fence(device, order, key, retention)
  local fence = redis.call('HGET', device, 'applied_at')
  if not fence or tonumber(order) > tonumber(fence) then
    redis.call('HSET', device, 'applied_at', order, 'applied_key', key)
  end
  -- Longer than any older command is still accepted, clocks that run ahead included.
  redis.call('PEXPIRE', device, retention + 600000)
end

-- Until then a request of the command with this order may still take effect, after those that follow it.
local function suspect(device, order, now, milliseconds)
  local known = redis.call('HMGET', device, 'suspect_until', 'suspect_order')
  local live = (tonumber(known[1]) or 0) > now
  local orders = live and known[2] ~= order and 'several' or order
  local deadline = math.max(now + milliseconds, live and tonumber(known[1]) or 0)
  redis.call('HSET', device, 'suspect_until', deadline, 'suspect_order', orders)
  if redis.call('PTTL', device) < deadline - now then redis.call('PEXPIRE', device, deadline - now) end
end

-- Let look-ups by command id find what stands under another name. A command is refused once it is
-- older than the retention, so twice that outlives every entry.
local function alias(command_id, target, retention)
  redis.call('SET', PREFIX .. 'id:' .. command_id, target, 'NX', 'PX', 2 * retention)
end

-- A second command under a key that already stands for other content.
local function bury_conflict(key, command_id, fingerprint, command, lane, now, retention)
  local id = redis.sha1hex(key .. command_id .. fingerprint)
  bury(id, 'IdempotencyConflict', now, {
    'kind', 'command', 'key', key, 'command_id', command_id, 'command', command, 'lane', lane, 'attempts', 0,
    'first_at', now, 'error_message', 'another command with other content holds this idempotency key',
    'request_id', '',
  })
  alias(command_id, 'dead-letter:' .. id, retention)
end

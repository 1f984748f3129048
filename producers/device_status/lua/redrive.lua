-- Give a dead-lettered command another life: a clean entry in the state `queued`; the caller publishes it.
-- ARGV: dead letter id
-- Returns {'redriven', lane, command as JSON}; {'unknown'}; {'not_redrivable', error code}: a message that
-- is no command, or (IdempotencyConflict) a command whose idempotency key belongs to another by now.
local id = ARGV[1]
local known = redis.call('HMGET', PREFIX .. 'dead-letter:' .. id,
  'kind', 'key', 'error_code', 'command', 'lane', 'command_id', 'fingerprint')
if not known[1] then
  return {'unknown'}
elseif known[1] ~= 'command' or known[3] == 'IdempotencyConflict' then
  return {'not_redrivable', known[3]}
end
local key, command, lane, command_id = known[2], known[4], known[5], known[6]
local entry = PREFIX .. 'command:' .. key
local holder = redis.call('HMGET', entry, 'state', 'command_id', 'redriven')
if holder[1] and (holder[1] ~= 'dead_lettered' or holder[2] ~= command_id) then
  return {'not_redrivable', 'IdempotencyConflict'}
end
redis.call('DEL', entry)
enter(entry, key, command_id, known[7], command, lane, now_ms())
redis.call('HSET', entry, 'redriven', (tonumber(holder[3]) or 0) + 1)
exhume(id)
return {'redriven', lane, command}

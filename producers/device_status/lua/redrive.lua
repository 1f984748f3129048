-- Give a dead-lettered command another life: a clean entry in the state `queued`; the caller publishes it.
-- ARGV: dead letter id
-- Returns {'redriven', lane, command as JSON}; {'unknown'}; {'not_redrivable', error code}: a message that
-- is no command, or a command whose idempotency key belongs to another.
local id = ARGV[1]
local letter = PREFIX .. 'dead-letter:' .. id
local known = redis.call('HMGET', letter, 'kind', 'key', 'error_code', 'command', 'lane', 'command_id')
if not known[1] then
  return {'unknown'}
elseif known[1] ~= 'command' or known[3] == 'IdempotencyConflict' then
  return {'not_redrivable', known[3]}
end
local key, command, lane = known[2], known[4], known[5]
local entry = PREFIX .. 'command:' .. key
local fingerprint = redis.call('HGET', entry, 'fingerprint')
local redriven = tonumber(redis.call('HGET', entry, 'redriven') or 0) + 1
if fingerprint then
  redis.call('DEL', entry)
  enter(entry, key, known[6], fingerprint, command, lane, now_ms())
  redis.call('HSET', entry, 'redriven', redriven)
end
exhume(id)
return {'redriven', lane, command}

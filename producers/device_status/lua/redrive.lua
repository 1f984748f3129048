-- Give a dead-lettered command another life: a clean entry in the state `queued`; the caller publishes it.
-- Or let the devices of an incident's user be listed again.
-- ARGV: dead letter id
-- Returns {'redriven', lane, command as JSON}; {'listed_again'}; {'unknown'}; {'not_redrivable', error code}: a
-- message that is no command, or (IdempotencyConflict) a command whose idempotency key belongs to another by
-- now, or (IncidentOver) a user of an incident that was cancelled or forgotten.
local id = ARGV[1]
local known = redis.call('HMGET', PREFIX .. 'dead-letter:' .. id,
  'kind', 'key', 'error_code', 'command', 'lane', 'command_id', 'fingerprint', 'incident', 'username', 'repair')
local incident = known[8] and known[8] ~= '' and PREFIX .. 'incident:' .. known[8]
if not known[1] then
  return {'unknown'}
elseif known[1] == 'user' then
  if redis.call('HGET', incident, 'state') ~= 'running' then
    return {'not_redrivable', 'IncidentOver'}
  end
  redis.call('HDEL', incident .. ':outcomes', known[9])
  redis.call('HINCRBY', incident, 'users_dead_lettered', -1)
  wait_for_listing(known[8], known[9], now_ms())
  exhume(id)
  return {'listed_again'}
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
local role = 'member'
if known[10] and known[10] ~= '' then
  role = 'repair'
elseif incident and redis.call('EXISTS', incident) == 1 then
  role = 'again'
  redis.call('HINCRBY', incident, 'dead_lettered', -1)
end
enter(entry, key, command_id, known[7], command, lane, now_ms(), role)
redis.call('HSET', entry, 'redriven', (tonumber(holder[3]) or 0) + 1)
exhume(id)
return {'redriven', lane, command}

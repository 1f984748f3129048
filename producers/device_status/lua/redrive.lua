-- Give a dead-lettered command another life: a clean entry in the state `queued`; the caller publishes it.
-- Or let the devices of an incident's user be listed again.
-- ARGV: dead letter id
-- Returns {'redriven', lane, command as JSON}; {'listed_again'}; {'unknown'}; {'not_redrivable', error code}: a
-- message that is no command, or (IdempotencyConflict, ReservedId) a command whose id or key is another's, or
-- (IncidentOver) a command of an incident that was forgotten, or a user of one that is not running.
local id = ARGV[1]
local letter = PREFIX .. 'dead-letter:' .. id
local known = redis.call('HMGET', letter, 'kind', 'key', 'error_code', 'command', 'lane', 'command_id', 'fingerprint',
  'incident', 'username', 'repair')
if not known[1] then
  return {'unknown'}
end
local incident = incident_of(letter)
if known[8] and known[8] ~= '' and not incident then
  return {'not_redrivable', 'IncidentOver'}
elseif known[1] == 'user' then
  if incident.state ~= 'running' then
    return {'not_redrivable', 'IncidentOver'}
  end
  local counters = PREFIX .. 'incident:' .. incident.id
  redis.call('HDEL', counters .. ':outcomes', known[9])
  redis.call('HINCRBY', counters, 'users_dead_lettered', -1)
  wait_for_listing(incident.id, known[9], now_ms())
  exhume(id)
  return {'listed_again'}
elseif known[1] ~= 'command' or known[3] == 'IdempotencyConflict' or known[3] == 'ReservedId' then
  return {'not_redrivable', known[3]}
end
local key, command, lane, command_id = known[2], known[4], known[5], known[6]
local is_repair = known[10] and known[10] ~= ''
local entry = PREFIX .. 'command:' .. key
local holder = redis.call('HMGET', entry, 'state', 'command_id', 'redriven')
if holder[1] and (holder[1] ~= 'dead_lettered' or holder[2] ~= command_id) then
  return {'not_redrivable', 'IdempotencyConflict'}
end
redis.call('DEL', entry)
enter(entry, key, command_id, known[7], command, lane, now_ms())
redis.call('HSET', entry, 'redriven', (tonumber(holder[3]) or 0) + 1)
if is_repair then redis.call('HSET', entry, 'repair', 1) end
if incident then
  join_incident(entry, incident.id, incident.life)
  -- It counts as one of its devices since it was entered first.
  if not is_repair then redis.call('HINCRBY', PREFIX .. 'incident:' .. incident.id, 'dead_lettered', -1) end
end
exhume(id)
return {'redriven', lane, command}

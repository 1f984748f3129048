-- A request left under a claim that was over before it was settled: it may have undone a newer command.
-- KEYS: 1 device:<hash>
-- ARGV: order, owner, milliseconds for which another command's request may be under way, the worker's clock
-- Returns {'harmless'}, or {'repair', lane, command as JSON}: the newest applied command, to be applied again
-- as a command of its own; the caller publishes it.
local device, order, owner = KEYS[1], ARGV[1], ARGV[2]
local now = now_ms()
suspect(device, order, now, tonumber(ARGV[4]), tonumber(ARGV[3]))
local fence = redis.call('HMGET', device, 'applied_at', 'applied_key')
if not fence[1] or tonumber(fence[1]) <= tonumber(order) then
  return {'harmless'}
end
local newest_entry = PREFIX .. 'command:' .. fence[2]
local newest = redis.call('HMGET', newest_entry, 'command', 'lane', 'fingerprint', 'state')
if not newest[4] or newest[4] == 'queued' or newest[4] == 'claimed' or newest[4] == 'retry_wait' then
  return {'harmless'}  -- Still under way, it meets the suspicion when it settles; or it is forgotten.
end
local key = 'repair:' .. owner
local entry = PREFIX .. 'command:' .. key
if redis.call('EXISTS', entry) == 1 then
  return {'harmless'}  -- The reply to the first time was lost on its way; the sweeper publishes it.
end
local command = cjson.decode(newest[1])
command.command_id, command.idempotency_key, command.expires_at = key, key, nil
command.reason = 'repair: a late request of an older command may have undone this one'
local repair = cjson.encode(command)
enter(entry, key, key, newest[3], repair, newest[2], now)
redis.call('HSET', entry, 'repair', 1)
local incident = incident_of(newest_entry)
if incident then join_incident(entry, incident.id, incident.life) end
return {'repair', newest[2], repair}

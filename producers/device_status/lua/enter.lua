-- Enter commands, before their message is published. For producers.
-- KEYS: the entries, command:<idempotency key>
-- ARGV: lane, retention, whether a refused command becomes a dead letter (1) or is only reported (0); then for each
--       entry: idempotency key, command id, fingerprint, command as JSON
-- Returns for each entry: 'entered'; if it is known what enter_again says; what refuse says; or, if it is only reported,
-- 'reserved' or {'conflict', id, state and JSON of the command that holds the key}.
local lane, retention, buries = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local now = now_ms()
local results = {}
for i, entry in ipairs(KEYS) do
  local key, command_id, fingerprint, command = unpack(ARGV, 4 * i, 4 * i + 3)
  local known = redis.call('HGET', entry, 'fingerprint')
  local reserved = is_reserved(key) or is_reserved(command_id)
  local refused = known and known ~= fingerprint or reserved and not known
  if refused and not buries then
    results[i] = reserved and 'reserved' or {'conflict', unpack(redis.call('HMGET', entry, 'command_id', 'state', 'command'))}
  elseif refused then
    results[i] = refuse(key, command_id, fingerprint, command, lane, now, retention)
  else
    if known then
      results[i] = enter_again(entry, key, now)
    else
      enter(entry, key, command_id, fingerprint, command, lane, now)
      results[i] = 'entered'
    end
    if command_id ~= key and not reserved then alias(command_id, 'command:' .. key, retention) end
  end
end
return results

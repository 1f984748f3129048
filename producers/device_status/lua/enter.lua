-- Enter commands, before their message is published. For producers.
-- KEYS: the entries, command:<idempotency key>
-- ARGV: lane, retention; then for each entry: idempotency key, command id, fingerprint, command as JSON
-- Returns for each entry: 'entered'; where it is known what enter_again says; or what refuse says.
local lane, retention = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
local results = {}
for i, entry in ipairs(KEYS) do
  local key, command_id, fingerprint, command = unpack(ARGV, 4 * i - 1, 4 * i + 2)
  local known = redis.call('HGET', entry, 'fingerprint')
  local reserved = is_reserved(key) or is_reserved(command_id)
  if known and known ~= fingerprint or reserved and not known then
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

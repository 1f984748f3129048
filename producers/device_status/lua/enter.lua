-- Enter commands, before their message is published. For producers.
-- KEYS: the entries, command:<idempotency key>
-- ARGV: lane, retention; then for each entry: idempotency key, command id, fingerprint, command as JSON
-- Returns for each entry: 'entered'; 'queued' where it is known and its message may be lost; its state,
-- where it is known and in somebody's care; or 'conflict' where it
-- stands for other content (that command is a dead letter now).
local lane, retention = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
local results = {}
for i, entry in ipairs(KEYS) do
  local key, command_id, fingerprint, command = unpack(ARGV, 4 * i - 1, 4 * i + 2)
  local known = redis.call('HMGET', entry, 'fingerprint', 'state', 'lane', 'lease_until')
  if not known[1] then
    enter(entry, key, command_id, fingerprint, command, lane, now)
    results[i] = 'entered'
  elseif known[1] ~= fingerprint then
    bury_conflict(key, command_id, fingerprint, command, lane, now, retention)
    results[i] = 'conflict'
  elseif known[2] == 'queued' or (known[2] == 'claimed' and tonumber(known[4]) <= now) then
    -- The caller publishes it again, behind all that is queued now. A claim whose lease is over waits for
    -- a message as well; the next claim counts the attempt.
    queue_again(entry, key, known[3], now)
    results[i] = 'queued'
  else
    results[i] = known[2]
  end
  if command_id ~= key and results[i] ~= 'conflict' then
    alias(command_id, 'command:' .. key, retention)
  end
end
return results

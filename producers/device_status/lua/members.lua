-- Enter commands of an incident, before their message is published. Nothing else makes members of an incident, and
-- whatever else stands under the key of one gives way: a command of an earlier life of the incident's id, or one that
-- somebody put there. A worker that has claimed such a command loses the claim.
-- KEYS: the entries, command:<key>
-- ARGV: incident id, its life, lane; then for each entry: key (the command's id as well), fingerprint, command as
--       JSON, username
-- Returns {} where the incident is gone; otherwise for each entry 'entered', or what enter_again says.
local id, life, lane = unpack(ARGV, 1, 3)
local incident = PREFIX .. 'incident:' .. id
if redis.call('HGET', incident, 'life') ~= life then
  return {}
end
local now = now_ms()
local results = {}
for i, entry in ipairs(KEYS) do
  local key, fingerprint, command, username = unpack(ARGV, 4 * i, 4 * i + 3)
  local known = redis.call('HMGET', entry, 'incident', 'life')
  if known[1] == id and known[2] == life then
    results[i] = enter_again(entry, key, now)
  else
    drop(entry, key)
    enter(entry, key, key, fingerprint, command, lane, now)
    join_incident(entry, id, life)
    redis.call('HINCRBY', incident, 'devices', 1)
    redis.call('RPUSH', incident .. ':devices', key)
    local outcome = redis.call('HGET', incident .. ':outcomes', username)
    outcome = outcome and cjson.decode(outcome)
    if outcome and outcome.outcome == 'given' then
      outcome.devices = (outcome.devices or 0) + 1
      redis.call('HSET', incident .. ':outcomes', username, cjson.encode(outcome))
    end
    results[i] = 'entered'
  end
end
return results

-- Devices of one user as a verification found them; the same page again changes nothing.
-- ARGV: id, run, username, ordered status, '1' where only devices of the incident count; then for each device:
--       idempotency key of its command, device key, status as listed ('' where the answer names none)
local id, run, username, ordered, only_known = unpack(ARGV, 1, 5)
local incident = PREFIX .. 'incident:' .. id
local verification = incident .. ':verification'
if redis.call('HGET', verification, 'run') ~= run then
  return
end
local seen = 0
for i = 6, #ARGV, 3 do
  local entry, device_key, listed = PREFIX .. 'command:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local as_ordered = listed == ordered
  local finding = nil
  local member_of = incident_of(entry)
  if member_of and member_of.id == id then
    if redis.call('HGET', entry, 'verified_run') ~= run then
      redis.call('HSET', entry, 'verified_run', run, 'verified_as', listed)
      seen = seen + 1
      redis.call('HINCRBY', verification, as_ordered and 'as_ordered' or 'not_as_ordered', 1)
      finding = not as_ordered and 'not_as_ordered'
    end
  elseif only_known ~= '1' and redis.call('SADD', incident .. ':new', device_key) == 1 then
    redis.call('HINCRBY', verification, 'new', 1)
    redis.call('HINCRBY', verification, 'new_not_as_ordered', as_ordered and 0 or 1)
    finding = 'new'
  end
  if finding then
    redis.call('RPUSH', incident .. ':findings', cjson.encode({
      username = username, device_key = device_key, finding = finding, status = listed,
    }))
  end
end
redis.call('HINCRBY', verification, 'seen', seen)
local lease = redis.call('HGET', incident .. ':verifying', username)
if lease then
  -- For a listing that fails on a later page.
  lease = cjson.decode(lease)
  lease.seen = (lease.seen or 0) + seen
  redis.call('HSET', incident .. ':verifying', username, cjson.encode(lease))
end
keep_for_retention(id, now_ms())

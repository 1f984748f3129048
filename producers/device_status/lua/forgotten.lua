-- Go on taking away the commands and dead letters of incidents that were forgotten (forget.lua).
-- ARGV: most commands, and most dead letters, to look at
-- Returns 1 where there is more to do.
local life = redis.call('LINDEX', PREFIX .. 'incidents:forgotten', 0)
if not life then
  return 0
end
local devices, letters = PREFIX .. 'forgotten:' .. life .. ':devices', PREFIX .. 'forgotten:' .. life .. ':letters'
-- The incident may have been opened anew under its id: what is of that life stays.
for _, key in ipairs(redis.call('LPOP', devices, ARGV[1]) or {}) do
  local entry = PREFIX .. 'command:' .. key
  if redis.call('HGET', entry, 'life') == life then redis.call('DEL', entry) end
end
for _, id in ipairs(redis.call('SPOP', letters, ARGV[1])) do
  if redis.call('HGET', PREFIX .. 'dead-letter:' .. id, 'life') == life then exhume(id) end
end
if redis.call('EXISTS', devices, letters) == 0 then redis.call('LPOP', PREFIX .. 'incidents:forgotten') end
return redis.call('EXISTS', PREFIX .. 'incidents:forgotten')

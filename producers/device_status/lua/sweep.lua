-- Take what is due in one lane and make it `queued` again; the caller publishes it.
-- ARGV: lane, most to take, 'lost before': commands queued earlier have no message any more (0: none known),
--       the worker's clock
-- Returns the commands as JSON.
local open, queued = PREFIX .. 'open:' .. ARGV[1], PREFIX .. 'queued:' .. ARGV[1]
local most, lost_before = tonumber(ARGV[2]), tonumber(ARGV[3])
local now, own = now_ms(), tonumber(ARGV[4])
local commands = {}

local function publish_again(entry, key)
  queue_again(entry, key, ARGV[1], now)
  commands[#commands + 1] = redis.call('HGET', entry, 'command')
end

for _, key in ipairs(redis.call('ZRANGE', open, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)) do
  local entry = PREFIX .. 'command:' .. key
  local known = redis.call('HGET', entry, 'state')
  if known == 'retry_wait' then
    redis.call('HSET', entry, 'state', 'queued')
    publish_again(entry, key)
  elseif known == 'claimed' then
    local lease = left(entry, 'lease_until', now, own)
    if lease > 0 then
      redis.call('ZADD', open, now + lease, key)  -- This server's clock went forward: its owner may be at work.
    else
      -- It stays `claimed`, with its lease over: the next claim takes it and counts the attempt.
      publish_again(entry, key)
    end
  else
    redis.call('ZREM', open, key)
  end
end
if lost_before > 0 then
  for _, key in ipairs(redis.call('ZRANGE', queued, '-inf', '(' .. lost_before, 'BYSCORE', 'LIMIT', 0, most)) do
    local entry = PREFIX .. 'command:' .. key
    if redis.call('EXISTS', entry) == 1 then
      publish_again(entry, key)
    else
      redis.call('ZREM', queued, key)
    end
  end
end
return commands

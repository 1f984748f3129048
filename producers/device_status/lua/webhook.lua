-- Take the next notice of an ended incident that is due, and lease it.
-- ARGV: lease
-- Returns {} or {incident id, how often the incident has ended, tries so far}.
local now = now_ms()
local due = redis.call('ZRANGE', PREFIX .. 'webhooks', '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)
if not due[1] then
  return {}
end
local incident = PREFIX .. 'incident:' .. due[1]
if redis.call('HEXISTS', incident, 'ended_at') == 0 then
  redis.call('ZREM', PREFIX .. 'webhooks', due[1])  -- Forgotten, or it goes on: it will end again.
  return {}
end
redis.call('ZADD', PREFIX .. 'webhooks', now + ARGV[1], due[1])
local tries = redis.call('HINCRBY', incident, 'webhook_tries', 1)
return {due[1], redis.call('HGET', incident, 'times_ended'), tries}

-- A notice was taken, is to be sent again, or is given up.
-- ARGV: incident id, how often the incident had ended, what (delivered, failed, retry), milliseconds until due
local incident = PREFIX .. 'incident:' .. ARGV[1]
if redis.call('HGET', incident, 'times_ended') ~= ARGV[2] then
  return
end
if ARGV[3] == 'retry' then
  redis.call('ZADD', PREFIX .. 'webhooks', 'XX', now_ms() + ARGV[4], ARGV[1])
else
  redis.call('ZREM', PREFIX .. 'webhooks', ARGV[1])
  redis.call('HSET', incident, 'webhook', ARGV[3])
  redis.call('HDEL', incident, 'webhook_tries')
end

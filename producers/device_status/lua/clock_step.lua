-- Put on record that this server's clock stepped, once for all workers that notice it.
-- KEYS: 1 clock
-- ARGV: by how many milliseconds, milliseconds since the worker looked before, milliseconds by which two workers may differ
-- Returns 1, or 0 where another worker has put it on record.
local by, since, apart = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local known = redis.call('HMGET', KEYS[1], 'stepped_at', 'stepped_by')
local ago = known[1] and now - known[1]
if ago and ago >= 0 and ago <= since + apart and math.abs(known[2] - by) <= apart then
  return 0
end
redis.call('HSET', KEYS[1], 'stepped_at', now, 'stepped_by', by)
redis.call('HINCRBY', KEYS[1], 'steps', 1)
return 1

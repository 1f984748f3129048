-- Put on record that this server's clock stepped, once for all workers that notice it.
-- KEYS: 1 clock
-- ARGV: by how many milliseconds, milliseconds within which it must have happened
-- Returns 1, or 0 where a worker has put on record what happened in that time.
local now = now_ms()
local ago = now - (redis.call('HGET', KEYS[1], 'stepped_at') or 0)
if ago >= 0 and ago <= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'stepped_at', now, 'stepped_by', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'steps', 1)
return 1

-- Remove dead letters for good, the oldest first.
-- ARGV: which ('dead': all; 'dead:aging': those that no incident keeps), 'before': only those buried at least this many
--       milliseconds ago, by both clocks (0: all), most to remove, the caller's clock
-- Returns how many were removed.
local before = ARGV[2] == '0' and '+inf' or math.min(now_ms(), ARGV[4]) - ARGV[2]
local ids = redis.call('ZRANGE', PREFIX .. ARGV[1], '-inf', before, 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  exhume(id)
end
return #ids

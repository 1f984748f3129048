-- Remove dead letters for good, the oldest first.
-- ARGV: which ('dead': all; 'dead:aging': those that no incident keeps), 'before': only those buried at least this many
--       milliseconds ago, most to remove
-- Returns how many were removed.
local before = now_ms() - ARGV[2]
local ids = redis.call('ZRANGE', PREFIX .. ARGV[1], '-inf', before, 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ids) do
  exhume(id)
end
return #ids

-- Remove dead letters for good, the oldest first.
-- ARGV: 'before': only those buried at least this many milliseconds ago; most to remove
-- Returns how many were removed.
local ids = redis.call('ZRANGE', PREFIX .. 'dead', '-inf', now_ms() - ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  exhume(id)
end
return #ids

-- How far a lane has been read, so that lost messages can be told from queued ones.
-- A mark is a message that carries the time it was published. Once it is received, and what was received
-- just before it had time to be claimed, every command queued before the mark has lost its message.
-- KEYS: 1 watermark:<lane>, 2 queued:<lane>
-- ARGV: grace: age at which a queued command is looked after, 'in hand': how long a worker may hold what
--       it received without a claim, 'again': after which a mark that did not come is published again
-- Returns {'idle'}; {'publish', mark}; {'waiting'}; {'passed', mark}: it is time to sweep what is older.
local now = now_ms()
local grace, in_hand, again = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'mark', 'published_at', 'received_at')
local mark, published_at, received_at = tonumber(known[1]), tonumber(known[2]), tonumber(known[3])

if mark and math.max(mark, published_at, received_at or 0) > now then
  -- The clock stepped back: what is queued from now on stands behind the mark, and looks as though it stood before it.
  redis.call('DEL', KEYS[1])
  mark, received_at = nil, nil
end
if mark and received_at then
  if now < received_at + in_hand then
    return {'waiting'}
  elseif redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. mark) > 0 then
    return {'passed', mark}
  end
  redis.call('DEL', KEYS[1])
elseif mark and now < published_at + again then
  return {'waiting'}
end
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not oldest[2] or tonumber(oldest[2]) > now - grace then
  redis.call('DEL', KEYS[1])
  return {'idle'}
end
-- A mark that did not come keeps its time, since it may stand behind a long backlog.
mark = (not received_at and mark) or now
redis.call('HSET', KEYS[1], 'mark', mark, 'published_at', now)
return {'publish', mark}

-- Note that a mark was received (see watermark.lua); one that is not the lane's current mark says nothing.
-- KEYS: 1 watermark:<lane>   ARGV: mark
if redis.call('HGET', KEYS[1], 'mark') == ARGV[1] then
  redis.call('HSETNX', KEYS[1], 'received_at', now_ms())
end

-- Stands between prelude and script where the answer is waited for (durability.py). WAIT and WAITAOF wait for what
-- their own connection wrote last, and so for nothing if the script finds that an earlier call, on another connection,
-- has changed all there is to change. With this, every run writes, and what comes before in the stream is safe as well.
-- PEXPIRE comes first because a server whose memory is full refuses SET.
if redis.call('PEXPIRE', PREFIX .. 'marker', 86400000) == 0 then
  redis.call('SET', PREFIX .. 'marker', '', 'PX', 86400000)
end

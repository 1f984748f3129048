-- When something was received first; the same again changes nothing.
-- KEYS: 1 received:<what>
-- ARGV: retention, the worker's clock in microseconds, tolerance for clocks that run ahead in milliseconds
-- Returns microseconds since 1970.
local time = redis.call('TIME')
local received_at = issue_time(time[1] * 1000000 + time[2], tonumber(ARGV[2]), 1000 * ARGV[3])
-- %.0f: Lua would print a number this large in the form 1.7e+15. As long as an alias, since a message that is delivered
-- again after that is too old in any case.
redis.call('SET', KEYS[1], string.format('%.0f', received_at), 'NX', 'PX', 2 * ARGV[1])
return redis.call('GET', KEYS[1])

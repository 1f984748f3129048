-- Put on record a message that is no command. The same id again changes nothing.
-- ARGV: dead letter id, error code, error message, raw message, queue
local now = now_ms()
bury(ARGV[1], ARGV[2], now, {
  'kind', 'message', 'error_message', ARGV[3], 'raw', ARGV[4], 'queue', ARGV[5], 'first_at', now,
  'attempts', 0, 'request_id', '',
})

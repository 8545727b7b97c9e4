-- Forget events.
-- KEYS     the root
-- ARGS     events [id]
-- Returns  nothing

for _, id in ipairs(args.events) do
  redis.call('HDEL', key('outbox'), id)
  redis.call('ZREM', key('outbox-unsent'), id)
end
return false

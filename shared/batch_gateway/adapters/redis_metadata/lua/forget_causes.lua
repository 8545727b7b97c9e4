-- Delete old causes, the oldest first.
-- KEYS     the root
-- ARGS     before (younger ones stay), limit
-- Returns  how many there were

local old = redis.call(
  'ZRANGEBYSCORE', key('causes-by-age'), '-inf', '(' .. args.before, 'LIMIT', 0, args.limit)
for _, id in ipairs(old) do
  redis.call('HDEL', key('causes'), id)
  redis.call('ZREM', key('causes-by-age'), id)
end
return #old

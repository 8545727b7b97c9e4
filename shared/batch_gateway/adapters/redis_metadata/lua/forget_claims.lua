-- Delete old claims, the oldest first.
-- KEYS     the root
-- ARGS     before (younger ones stay), limit
-- Returns  how many there were

local old = redis.call(
  'ZRANGEBYSCORE', key('claims-by-age'), '-inf', '(' .. args.before, 'LIMIT', 0, args.limit)
for _, id in ipairs(old) do
  redis.call('DEL', key('claim', id))
  redis.call('ZREM', key('claims-by-age'), id)
end
return #old

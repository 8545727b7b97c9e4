-- Delete old deliveries, the oldest first.
-- KEYS     the root
-- ARGS     before (younger ones stay), limit
-- Returns  how many there were

local old = redis.call('ZRANGEBYSCORE', key('webhook-deliveries-by-age'), '-inf',
  '(' .. args.before, 'LIMIT', 0, args.limit)
for _, id in ipairs(old) do drop_delivery(id) end
return #old

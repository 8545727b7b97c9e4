-- Leases whose heartbeat ran out, longest first.
-- KEYS  1 the queue's root
-- ARGV  1 how many at most
-- Returns {shard, "epoch:token"} pairs.
local found = {}
for _, shard in ipairs(
  redis.call('ZRANGEBYSCORE', key('leased'), '-inf', now, 'LIMIT', 0, ARGV[1])
) do
  found[#found + 1] = { shard, redis.call('HGET', key('leases'), shard) }
end
return found

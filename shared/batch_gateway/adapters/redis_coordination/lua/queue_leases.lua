-- Leases whose end is not known here, the next to run out first.
-- KEYS  1 the queue's root
-- ARGV  1 how many at most
-- Returns {shard, "epoch:token"} pairs.
local found = {}
for _, shard in ipairs(redis.call('ZRANGE', key('leased'), 0, ARGV[1] - 1)) do
  found[#found + 1] = { shard, redis.call('HGET', key('leases'), shard) }
end
return found

-- Make shards ready again whose leases are over, as far as these are the present ones here.
-- KEYS  1 the queue's root
-- ARGV  for each lease: shard, "epoch:token"
-- Returns how many are ready now.
local reopened = 0
for i = 1, #ARGV, 2 do
  local shard, lease = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', key('leases'), shard) == lease then
    local text = redis.call('HGET', key('tickets'), shard)
    redis.call('HSET', key('leases'), shard, string.match(lease, '^%d+:'))
    redis.call('ZREM', key('leased'), shard)
    if text then -- or it was lost: the janitor queues the shard again
      insert(shard, text, read(text))
      reopened = reopened + 1
    end
  end
end
return reopened

-- Forget leases that are over, with what is known of their shards.
-- KEYS  1 the queue's root
-- ARGV  for each lease: shard, "epoch:token"
for i = 1, #ARGV, 2 do
  local shard = ARGV[i]
  if redis.call('HGET', key('leases'), shard) == ARGV[i + 1] then
    redis.call('ZREM', key('leased'), shard)
    redis.call('HDEL', key('leases'), shard)
    redis.call('HDEL', key('tickets'), shard)
  end
end

-- Forget shards, in whatever state they are.
-- KEYS  1 the queue's root
-- ARGV  the shards
for _, shard in ipairs(ARGV) do
  local text = redis.call('HGET', key('tickets'), shard)
  if text then remove(shard, read(text)) end
  redis.call('HDEL', key('tickets'), shard)
  redis.call('HDEL', key('leases'), shard)
  redis.call('ZREM', key('reserved'), shard)
  redis.call('ZREM', key('leased'), shard)
end

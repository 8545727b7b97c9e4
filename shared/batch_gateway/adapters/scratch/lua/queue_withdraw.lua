-- Forget ready shards of a batch.
-- KEYS  1 the queue's root
-- ARGV  1 batch, 2 most shards per model to forget in this call
-- Returns how many were forgotten: call again until it is none.
recover()
local forgotten = 0
for _, model in ipairs(redis.call('SMEMBERS', key('batch-models', ARGV[1]))) do
  for _, shard in ipairs(redis.call('ZRANGE', key('stream', ARGV[1], model), 0, ARGV[2] - 1)) do
    remove(shard, read(redis.call('HGET', key('tickets'), shard)))
    redis.call('HDEL', key('tickets'), shard)
    redis.call('HDEL', key('leases'), shard)
    forgotten = forgotten + 1
  end
end
return forgotten

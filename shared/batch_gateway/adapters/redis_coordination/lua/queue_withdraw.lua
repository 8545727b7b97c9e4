-- Forget ready shards of a batch.
-- KEYS  1 the queue's root
-- ARGV  1 batch, 2 most shards to forget in this call
-- Returns how many were forgotten: call again until it is none.
recover()
local most, forgotten = tonumber(ARGV[2]), 0
for _, model in ipairs(redis.call('SRANDMEMBER', key('batch-models', ARGV[1]), most)) do
  local stream = key('stream', ARGV[1], model)
  for _, shard in ipairs(redis.call('ZRANGE', stream, 0, most - forgotten - 1)) do
    local text = redis.call('HGET', key('tickets'), shard)
    if text then
      remove(shard, read(text))
    else
      redis.call('ZREM', stream, shard)
    end
    redis.call('HDEL', key('tickets'), shard)
    redis.call('HDEL', key('leases'), shard)
    forgotten = forgotten + 1
  end
  if forgotten == most then break end
end
return forgotten

-- All leases, longest held first.
-- KEYS     the root
-- ARGS     limit
-- Returns  [{shard id, epoch, token, granted at}]

local leases = redis.call('ZRANGEBYSCORE', key('leases'), '-inf', '+inf', 'LIMIT', 0, args.limit)
local found = {}
for i, shard in ipairs(leases) do
  local batch_id, index = shard:match('^(.*)%.(%d+)$')
  found[i] = {
    shard,
    shard_get(batch_id, index, 'epoch'),
    shard_get(batch_id, index, 'token'),
    shard_get(batch_id, index, 'leased_at'),
  }
end
return found

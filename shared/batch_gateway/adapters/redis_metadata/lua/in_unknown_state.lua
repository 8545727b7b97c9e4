-- Batches with open shards that are neither ready nor leased.
-- KEYS     the root
-- ARGS     status, first, last (ranks of the batches among those in the status)
-- Returns  {number of batches looked at, [batch id]}

local found = {}
local ids = redis.call('ZRANGE', key('batches-by-status', args.status), args.first, args.last)
for _, id in ipairs(ids) do
  local known = redis.call('ZCARD', key('ready', id)) + redis.call('SCARD', key('leased', id))
  local open = tonumber(redis.call('HGET', key('batch', id), 'open_shards'))
  if open and open > known then found[#found + 1] = id end
end
return {#ids, found}

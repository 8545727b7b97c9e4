-- Ready shards of the batches that may run, by batch id and index.
-- KEYS     the root
-- ARGS     after {batch, index} (absent: from the beginning), limit
-- Returns  [{batch, tenant, priority, deadline, [index, plan, index, plan, ...]}]

local limit = tonumber(args.limit)
local found = {}

-- Add a batch's ready shards behind `index` (in ZRANGEBYSCORE's notation), as far as the limit goes.
local function take(batch_id, index)
  local indexes = redis.call('ZRANGEBYSCORE', key('ready', batch_id), index, '+inf',
    'LIMIT', 0, limit)
  if #indexes == 0 then return end
  local plans = {}
  for _, ready in ipairs(indexes) do
    plans[#plans + 1] = ready
    plans[#plans + 1] = shard_get(batch_id, ready, 'plan')
  end
  local batch = redis.call('HMGET', key('batch', batch_id), 'tenant', 'priority', 'deadline')
  found[#found + 1] = {batch_id, batch[1], batch[2], batch[3], plans}
  limit = limit - #indexes
end

local runnable = key('batches-runnable')
local first = '-'
if args.after then
  if redis.call('ZSCORE', runnable, args.after.batch) then
    take(args.after.batch, '(' .. args.after.index)
  end
  first = '(' .. args.after.batch
end
-- Each runnable batch has a ready shard, so `limit` batches are always enough.
for _, batch_id in ipairs(redis.call('ZRANGEBYLEX', runnable, first, '+', 'LIMIT', 0, limit)) do
  if limit == 0 then break end
  take(batch_id, '-inf')
end
return found

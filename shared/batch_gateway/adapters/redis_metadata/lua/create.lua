-- Add a batch row and its events.
-- KEYS     the root
-- ARGS     batch {field: value}, events [{id, body}], cause (key; absent: none),
--          quotas {name: most}
-- Returns  nothing; CONFLICT when the id or the cause is taken; OVERQUOTA

local batch = args.batch
local conflict = taken('batch', batch.id)
if conflict then return conflict end
if args.cause and redis.call('HEXISTS', key('causes'), args.cause) == 1 then
  return redis.error_reply('CONFLICT a batch was made for this cause already')
end
local refused = over_quota(batch.tenant, of_open(batch))
if refused then return refused end

store('batch', batch)
if args.cause then
  redis.call('HSET', key('causes'), args.cause, batch.id)
  redis.call('ZADD', key('causes-by-age'), batch.created_at, args.cause)
end
redis.call('ZADD', tenant_key('batches-of', batch.tenant), 0, listed(batch))
redis.call('ZADD', key('batches-by-status', batch.status), batch.status_since, batch.id)
reindex(batch)
write_events(batch.created_at)
book(batch.tenant, of_open(batch))
return false

-- Add a batch row and its events.
-- KEYS     the root
-- ARGS     batch {field: value}, events [{id, body}]
-- Returns  nothing; CONFLICT when the id is taken

local batch = args.batch
local conflict = taken('batch', batch.id)
if conflict then return conflict end

store('batch', batch)
redis.call('ZADD', tenant_key('batches-of', batch.tenant), 0, listed(batch))
redis.call('ZADD', key('batches-by-status', batch.status), batch.status_since, batch.id)
reindex(batch)
write_events(batch.created_at)
return false

-- Remove the row of a batch that has ended, its places in the indexes, and its shards.
-- KEYS     the root
-- ARGS     tenant, batch
-- Returns  the row as it was; nil when it has not ended or is another tenant's

local batch = load_row('batch', args.batch)
if not batch or batch.tenant ~= args.tenant or not allows(batch, 'delete') then return false end

local row = row_of(batch)
redis.call('UNLINK', key('batch', batch.id), key('shards', batch.id), key('planned', batch.id),
  key('summary', batch.id))
redis.call('ZREM', tenant_key('batches-of', batch.tenant), listed(batch))
redis.call('ZREM', key('batches-by-status', batch.status), batch.id)
redis.call('ZREM', key('batches-ended'), batch.id)
return row

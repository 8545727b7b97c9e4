-- Record that the work objects of a terminal batch are gone, and drop its shards.
-- KEYS     the root
-- ARGS     batch
-- Returns  nothing

local batch = load_row('batch', args.batch)
if not batch or not allows(batch, 'delete') then return false end

redis.call('UNLINK', key('shards', batch.id), key('planned', batch.id))
update(batch, {swept = '1'})
reindex(batch)
return false
